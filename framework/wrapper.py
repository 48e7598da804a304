"""Wrappers: what stands between an environment and whoever acts in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from framework.registry import Registry

Wrapping = Callable[[gymnasium.Env[Any, Any]], gymnasium.Wrapper[Any, Any, Any, Any]]

# A wrapper is a class, or a function that returns one, whose first parameter is `environment` and whose others are
# keyword-only options. The recipe's `wrappers` are applied from the first, the innermost, to the last.
wrappers: Registry[gymnasium.Wrapper[Any, Any, Any, Any]] = Registry(
    "wrapper", gymnasium.Wrapper, context=("environment",)
)
register_wrapper = wrappers.register
