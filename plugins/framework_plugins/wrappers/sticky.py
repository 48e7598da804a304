"""Sticky actions: the environment sometimes repeats the last action instead of taking the new one."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import StickyAction

from framework import OptionError, register_wrapper


@register_wrapper("sticky")
def sticky(environment: gymnasium.Env[Any, Any], *, probability: float = 0.25) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment that repeats its last action with a probability, so that no sequence can be learnt by rote.

    Args:
        environment: what is wrapped.
        probability: of a repetition, at each step, from 0 to below 1.

    Raises:
        OptionError: the probability is out of range.

    Reference: Machado et al., "Revisiting the Arcade Learning Environment", 2018, §5.2,
    https://arxiv.org/abs/1709.06009.
    """
    if not 0 <= probability < 1:
        raise OptionError("probability", found=probability, expected="a number from 0 to below 1")
    return StickyAction(environment, probability)
