"""A number that stays as it is."""

from __future__ import annotations

from framework import Counters, Schedule, register_schedule


@register_schedule("constant")
class Constant(Schedule):
    """Always the same number; what a plain number in a recipe means.

    Args:
        value: the number.
    """

    def __init__(self, *, value: float) -> None:
        self.final, self.steps = value, 0

    def value(self, counters: Counters) -> float:
        return self.final
