"""Rescaled actions: a box of actions with other bounds."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import RescaleAction

from framework import OptionError, register_wrapper


@register_wrapper("rescale_action")
def rescale_action(
    environment: gymnasium.Env[Any, Any], *, low: float = -1.0, high: float = 1.0
) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment whose actions are in [low, high], which stands for the whole of its box, linearly.

    A policy that begins near 0 with deviation 1 then covers the actions of any environment.

    Args:
        environment: what is wrapped; its actions are a box with finite bounds.
        low: the bound that stands for the box's lower one.
        high: the bound that stands for the box's upper one; above `low`.

    Raises:
        OptionError: the bounds are not in order, or the actions are no such box.
    """
    space = environment.action_space
    if not isinstance(space, Box) or not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise OptionError("name", found=f"actions in {space}", expected="a box of actions with finite bounds")
    if low >= high:
        raise OptionError("low", found=low, expected=f"less than high, which is {high}")
    kind: Any = space.dtype
    return RescaleAction(environment, np.full(space.shape, low, kind), np.full(space.shape, high, kind))
