"""Flattened observations: one array instead of several."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import FlattenObservation

from framework import register_wrapper


@register_wrapper("flatten")
def flatten(environment: gymnasium.Env[Any, Any]) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    """Return an environment whose observation is one vector: its parts one after the other, discrete ones one-hot.

    Args:
        environment: what is wrapped; its observations are in a Dict, a Tuple, or any other space of fixed size.
    """
    return FlattenObservation(environment)
