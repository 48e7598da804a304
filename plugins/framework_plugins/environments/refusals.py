"""What an environment refuses: options that it does not have, actions out of range, steps outside an episode."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray


def refuse_options(options: dict[str, Any] | None) -> None:
    """Refuse what `reset(options=…)` was given; the environments here take none.

    Raises:
        ValueError: there are options.
    """
    if options:
        raise ValueError(f"reset(options): expected none, found {options}; write reset(seed=…)")


def refuse_step_outside_episode(inside: bool) -> None:
    """Refuse a step before the first `reset` and after an episode's end.

    Raises:
        ResetNeeded: no episode is going on.
    """
    if not inside:
        raise ResetNeeded("step(): expected an episode that has begun and not ended, found none; call reset() first")


def check_action(action: SupportsIndex, count: int) -> int:
    """Return one action as an int.

    Args:
        action: a whole number from 0 to `count` − 1, Python's or numpy's.
        count: how many actions there are.

    Raises:
        ValueError: it is something else.
    """
    try:
        whole = operator.index(action)
    except TypeError:
        whole = -1
    if not 0 <= whole < count:
        raise ValueError(f"step(action): expected a whole number from 0 to {count - 1}, found {action!r}")
    return whole


def check_actions(actions: object, environments: int, count: int) -> NDArray[np.int64]:
    """Return one action for each environment, int64 [N].

    Args:
        actions: N whole numbers from 0 to `count` − 1, as an array or a sequence.
        environments: N.
        count: how many actions there are.

    Raises:
        ValueError: they are something else.
    """
    array = np.asarray(actions)
    expected = f"step(actions): expected {environments} whole numbers from 0 to {count - 1}, found"
    if array.shape != (environments,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{expected} {array.dtype} of shape {array.shape}")
    if array.min() < 0 or array.max() >= count:
        wrong = int(np.argmax((array < 0) | (array >= count)))
        raise ValueError(f"{expected} {array[wrong]} for environment {wrong}")
    return array.astype(np.int64, copy=False)
