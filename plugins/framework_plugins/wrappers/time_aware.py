"""Observed time: how far an episode has come is part of the observation."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import TimeAwareObservation

from framework import OptionError, register_wrapper


@register_wrapper("time_aware")
def time_aware(
    environment: gymnasium.Env[Any, Any], *, normalize: bool = True
) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment whose observation is flat and ends with the step in the episode.

    With a limit of steps the value of a state depends on how many are left; only then is it a function of what is
    observed. Not for an agent that is to act beyond the limit: it should bootstrap from truncated episodes instead.

    Args:
        environment: what is wrapped; with a limit of steps.
        normalize: whether the step is divided by the limit.

    Raises:
        OptionError: there is no limit of steps.

    Reference: Pardo et al., "Time limits in reinforcement learning", 2018, §3, https://arxiv.org/abs/1712.00378.
    """
    if environment.spec is None or environment.spec.max_episode_steps is None:
        raise OptionError("name", found="no limit of steps", expected="max_episode_steps in the environment's section")
    return TimeAwareObservation(environment, normalize_time=normalize)
