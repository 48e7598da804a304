"""What environments are like at a moment, and how others of the same recipe are brought there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from framework.object_state import NotCapturable, Reader, Writer

Some = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]

STEPS = 400  # that a trial waits at most for an episode to end
SECONDS = 0.25  # likewise: slow environments are tried for fewer steps
RESETS = 10  # that an environment has behind it, if there is time, when it is tried whether it forgets
FEW = 2  # environments side by side are enough for a trial


def capture(environment: Some) -> dict[str, Any]:
    """Return the state of an environment, of its wrappers and of all that they hold.

    Numbers, strings, arrays, generators of random numbers, containers and Python objects with attributes are followed
    wherever they lead; where two names stand for one object, they will again. Functions, classes, modules and what
    gymnasium holds constant are taken to be the same in every environment of the recipe. State that hides in a function
    or in a module is therefore missed; `is_restorable` finds that out.

    Args:
        environment: one environment, or a vector environment.

    Returns:
        Plain containers and tensors, which `torch.load(weights_only=True)` reads.

    Raises:
        NotCapturable: there is something else; it is named.

    Example:
        >>> one, other = gymnasium.make("CartPole-v1"), gymnasium.make("CartPole-v1")
        >>> _ = one.reset(seed=3)
        >>> restore(other, capture(one))
        >>> bool((one.step(1)[0] == other.step(1)[0]).all())
        True
    """
    return {"environment": Writer().write(environment, type(environment).__name__)}


def restore(environment: Some, state: dict[str, Any]) -> None:
    """Bring an environment to a captured state.

    Args:
        environment: made by the recipe that made the captured one. It is reset first, so that what the first reset
            makes is there.
        state: as from `capture`.

    Raises:
        NotCapturable: the environment is made otherwise, or lacks an object that the captured one had.
    """
    environment.reset(seed=0)
    Reader().read(state["environment"], environment, type(environment).__name__)


def is_restorable(make: Callable[[], VectorEnv[Any, Any, Any]]) -> bool:
    """Return whether vector environments can be captured and restored: tried, not believed.

    One takes random steps, past an episode's end if there is one in time; a new one is brought to its state; both take
    the same steps, to the next end or as many, which must be the same bit for bit.

    Args:
        make: makes the vector environment; called twice at most.
    """
    made = [make()]
    try:
        one = made[0]
        one.reset(seed=1)
        one.action_space.seed(1)
        capture(one)  # before there is another, which may be dear
        made.append(make())
        _run(one, one)
        restore(made[1], capture(one))
        return _run(one, made[1])
    except NotCapturable:
        return False
    finally:
        for environment in made:
            environment.close()


def forgets(make: Callable[[], VectorEnv[Any, Any, Any]]) -> bool:
    """Return whether a reset with a seed leaves nothing of what was before in vector environments: tried, not believed.

    One takes random steps, past an episode's end if there is one in time, after some resets; it and a new one are
    reset with the same seed and take the same steps, likewise, which must be the same bit for bit. What changes only
    after more episodes than that is missed.

    Args:
        make: makes the vector environment; called twice.
    """
    made = [make()]
    try:
        used, end = made[0], time.monotonic() + SECONDS
        for seed in range(RESETS):
            used.reset(seed=seed)
            if time.monotonic() > end:
                break
        used.action_space.seed(1)
        _run(used, used)
        made.append(make())
        return are_equal(*(each.reset(seed=RESETS) for each in made)) and _run(used, made[1])
    finally:
        for environment in made:
            environment.close()


def _run(one: VectorEnv[Any, Any, Any], other: VectorEnv[Any, Any, Any]) -> bool:
    """Take random steps in both, until some after an episode's end; return whether they were the same."""
    left, end = STEPS, time.monotonic() + SECONDS
    while left > 0 and time.monotonic() < end:
        action = one.action_space.sample()
        mine = one.step(action)
        if other is not one and not are_equal(mine, other.step(action)):
            return False
        left = min(left - 1, 5) if np.any(mine[2]) or np.any(mine[3]) else left - 1
    return True


def are_equal(one: Any, other: Any) -> bool:
    """Return whether two transitions, or what is in them, are the same bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) or (isinstance(one, np.ndarray) and one.dtype == object):
        return len(one) == len(other) and all(map(are_equal, one, other))
    if isinstance(one, np.ndarray | np.generic):
        return bool(one.dtype == other.dtype) and one.tobytes() == other.tobytes()
    return bool(one == other)
