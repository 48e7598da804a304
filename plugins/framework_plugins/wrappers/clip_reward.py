"""Clipped rewards."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import ClipReward

from framework import OptionError, register_wrapper


@register_wrapper("clip_reward")
def clip_reward(
    environment: gymnasium.Env[Any, Any], *, low: float | None = None, high: float | None = None
) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment whose rewards are cut off at bounds: another problem, whose returns are in another unit.

    Args:
        environment: what is wrapped.
        low: what a lower reward becomes, or null for no bound.
        high: what a higher reward becomes, or null for no bound; not below `low`.

    Raises:
        OptionError: there is no bound, or they are not in order.

    Reference: Mnih et al., "Human-level control through deep reinforcement learning", 2015, "Training details",
    https://doi.org/10.1038/nature14236: −1 and 1.
    """
    if low is None and high is None:
        raise OptionError("low", found="no bound", expected="low, high or both", write="low: -1")
    if low is not None and high is not None and low > high:
        raise OptionError("low", found=low, expected=f"at most high, which is {high}")
    return ClipReward(environment, low, high)
