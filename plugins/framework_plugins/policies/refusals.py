"""What policies refuse, and which of them fits instead."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from framework import OptionError

# The policy for each kind of action space.
_FITTING = {Discrete: "categorical", MultiDiscrete: "categorical", MultiBinary: "bernoulli", Box: "gaussian"}


def wrong_action_space(space: gymnasium.Space[object], expected: str) -> OptionError:
    """Return the error of a policy that acts in other spaces; it names the policy for this one, if there is one."""
    fitting = [name for kind, name in _FITTING.items() if isinstance(space, kind)]
    write = f"policy: {{name: {fitting[0]}}}" if fitting else "an environment with another action space"
    return OptionError("action_space", found=space, expected=expected, write=write)


def number_of_actions(space: Discrete[Any]) -> int:
    """Return A of a space whose actions are 0 to A − 1.

    Raises:
        OptionError: they are not.
    """
    refuse_start(space)
    return int(space.n)


def refuse_start(space: Discrete[Any] | MultiDiscrete) -> None:
    """Raise an OptionError unless the first action is called 0: a learner's tables and masks are by that number."""
    start = space.start
    if start.any() if isinstance(space, MultiDiscrete) else start != 0:
        raise OptionError(
            "action_space",
            found=space,
            expected="actions counted from 0",
            write="a wrapper of the environment that counts them so, registered with register_wrapper",
        )
