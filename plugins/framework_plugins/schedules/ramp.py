"""Ramps from one number to another: straight, along a cosine, and again and again."""

from __future__ import annotations

import math

from framework import Counters, OptionError, Schedule, register_schedule


@register_schedule("linear")
class Linear(Schedule):
    """From `start` to `end` in a straight line over `steps` optimiser steps, then `end`.

    Counted in optimiser steps and not in epochs, so that a warm-up ends at the same place whatever the data's size.

    Args:
        start: the number at step 0.
        end: the number from `steps` on.
        steps: the ramp's length in optimiser steps, 1 or more.
    """

    def __init__(self, *, start: float, end: float, steps: int) -> None:
        self.start, self.final, self.steps = start, end, _at_least_one("steps", steps)

    def value(self, counters: Counters) -> float:
        return _between(self.start, self.final, counters.optimizer_steps / self.steps)


@register_schedule("cosine")
class Cosine(Schedule):
    """From `start` to `end` along half a cosine over `steps` optimiser steps, then `end`.

    Args:
        start: the number at step 0.
        end: the number from `steps` on.
        steps: the ramp's length in optimiser steps, 1 or more.

    Reference: Loshchilov & Hutter, "SGDR", 2017, equation 5, https://arxiv.org/abs/1608.03983.
    """

    def __init__(self, *, start: float, end: float, steps: int) -> None:
        self.start, self.final, self.steps = start, end, _at_least_one("steps", steps)

    def value(self, counters: Counters) -> float:
        share = min(1.0, counters.optimizer_steps / self.steps)
        return _between(self.start, self.final, (1 - math.cos(math.pi * share)) / 2)


@register_schedule("cyclical")
class Cyclical(Schedule):
    """`cycles` times from `start` to `end` within `steps` optimiser steps, then `end`.

    In each cycle the number rises in a straight line for the first `ramp` of it and stays at `end` for the rest.

    Args:
        start: the number at the start of each cycle.
        end: the number at the end of each cycle, and afterwards.
        steps: the length of all cycles together in optimiser steps, `cycles` or more.
        cycles: how many.
        ramp: the share of a cycle in which the number rises, in (0, 1].

    Reference: Fu et al., "Cyclical Annealing Schedule", 2019, equation 6, https://arxiv.org/abs/1903.10145.
    """

    def __init__(self, *, start: float, end: float, steps: int, cycles: int = 4, ramp: float = 0.5) -> None:
        if not 0 < ramp <= 1:
            raise OptionError("ramp", found=ramp, expected="a share above 0 and at most 1")
        if steps < _at_least_one("cycles", cycles):
            raise OptionError("steps", found=steps, expected=f"at least one step a cycle, {cycles}")
        self.start, self.final, self.steps, self.cycles, self.ramp = start, end, steps, cycles, ramp

    def value(self, counters: Counters) -> float:
        if counters.optimizer_steps >= self.steps:
            return self.final
        # In integers: a period of T/M steps that is no whole number would miss the start of a cycle by a rounding.
        share = counters.optimizer_steps * self.cycles % self.steps / self.steps  # of the cycle, in [0, 1)
        return _between(self.start, self.final, share / self.ramp)


def _between(start: float, end: float, share: float) -> float:
    share = min(1.0, share)
    return (1 - share) * start + share * end


def _at_least_one(option: str, number: int) -> int:
    if number < 1:
        raise OptionError(option, found=number, expected="1 or more")
    return number
