"""Stacked frames: the last observations instead of the last one."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import FrameStackObservation

from framework import OptionError, register_wrapper


@register_wrapper("frame_stack")
def frame_stack(environment: gymnasium.Env[Any, Any], *, size: int) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment whose observation is the last `size` observations, the newest last: [size, *shape].

    At an episode's beginning the first one stands for those that are missing. Velocities can be seen in two frames.

    Args:
        environment: what is wrapped.
        size: observations, 2 or more.

    Raises:
        OptionError: `size` is below 2.

    Reference: Mnih et al., "Human-level control through deep reinforcement learning", 2015, "Preprocessing",
    https://doi.org/10.1038/nature14236.
    """
    if size < 2:
        raise OptionError("size", found=size, expected="2 or more")
    return FrameStackObservation(environment, size)
