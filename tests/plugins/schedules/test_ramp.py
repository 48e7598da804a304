"""The ramps against their formulas, at the start, inside, at the end and beyond."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from framework import Counters, OptionError, Schedule
from framework_plugins.schedules.ramp import Cosine, Cyclical, Linear


def values(schedule: Schedule, *steps: int) -> list[float]:
    return [schedule.value(Counters(optimizer_steps=step)) for step in steps]


def test_linear() -> None:
    ramp = Linear(start=1.0, end=5.0, steps=8)
    assert values(ramp, 0, 2, 4, 7, 8, 9, 10**9) == [1.0, 2.0, 3.0, 4.5, 5.0, 5.0, 5.0]
    assert (ramp.final, ramp.steps) == (5.0, 8)


def test_linear_goes_down_as_well() -> None:
    assert values(Linear(start=2.0, end=-2.0, steps=4), 0, 1, 2, 3, 4) == [2.0, 1.0, 0.0, -1.0, -2.0]


def test_cosine() -> None:
    ramp = Cosine(start=3.0, end=1.0, steps=6)
    expected = [3.0, 2 + math.cos(math.pi / 6), 2.5, 2.0, 1.5, 1.0, 1.0]
    # 1e-15: the cosine itself is rounded
    assert values(ramp, 0, 1, 2, 3, 4, 6, 100) == pytest.approx(expected, abs=1e-15)
    assert values(ramp, 6, 7) == [1.0, 1.0]
    assert (ramp.final, ramp.steps) == (1.0, 6)


@pytest.mark.parametrize(("steps", "cycles", "ramp"), [(40, 4, 0.5), (40, 4, 1.0), (12, 3, 0.25), (10, 6, 0.5)])
def test_cyclical_is_the_papers_formula(steps: int, cycles: int, ramp: float) -> None:
    """Fu et al., equations 6 and 7: β_t = f(τ) for τ ≤ R and 1 beyond, τ = mod(t − 1, T/M)/(T/M); t − 1 counts steps.

    In fractions, so that a cycle's start is where it should be; within 1e-12 of it.
    """
    schedule = Cyclical(start=0.0, end=1.0, steps=steps, cycles=cycles, ramp=ramp)
    period = Fraction(steps, cycles)
    for step in range(steps):
        share = Fraction(step) % period / period
        expected = share / Fraction(ramp) if share <= ramp else 1
        assert values(schedule, step)[0] == pytest.approx(float(expected), abs=1e-12), step
    assert values(schedule, steps, steps + 1, 10 * steps) == [1.0, 1.0, 1.0]
    assert (schedule.final, schedule.steps) == (1.0, steps)


def test_cyclical_starts_anew_at_each_cycle_also_where_a_cycle_is_no_whole_number_of_steps() -> None:
    assert values(Cyclical(start=0.5, end=2.0, steps=10, cycles=6), 0, 5) == [0.5, 0.5]


def test_cyclical_by_default_has_four_cycles_that_rise_in_their_first_half() -> None:
    schedule = Cyclical(start=0.0, end=1.0, steps=40)
    assert values(schedule, 0, 4, 5, 9, 10, 12, 30, 39, 40) == [0.0, 0.8, 1.0, 1.0, 0.0, 0.4, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("family", [Linear, Cosine])
@pytest.mark.parametrize("steps", [0, -3])
def test_a_ramp_has_a_step_at_least(family: type[Linear] | type[Cosine], steps: int) -> None:
    with pytest.raises(OptionError, match=rf"^steps: expected 1 or more, found {steps}$"):
        family(start=0.0, end=1.0, steps=steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ramp": 0.0}, r"^ramp: expected a share above 0 and at most 1, found 0\.0$"),
        ({"ramp": 1.5}, r"^ramp: expected a share above 0 and at most 1, found 1\.5$"),
        ({"cycles": 0}, r"^cycles: expected 1 or more, found 0$"),
        ({"cycles": 11}, r"^steps: expected at least one step a cycle, 11, found 10$"),
    ],
)
def test_cycles_that_cannot_be_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Cyclical(start=0.0, end=1.0, steps=10, **options)
