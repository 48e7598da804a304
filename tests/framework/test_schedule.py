"""Schedules as numbers: values at counters, what they end at, products."""

from __future__ import annotations

from framework import Counters, Schedule
from framework.schedule import Scaled, final_value, scale, value_at
from framework_plugins.schedules.ramp import Linear


def at(step: int) -> Counters:
    return Counters(optimizer_steps=step)


def test_a_number_is_its_own_value_at_every_step() -> None:
    assert value_at(2.5, at(7)) == final_value(2.5) == 2.5


def test_a_schedules_value_is_at_the_counters_and_its_final_value_is_its_end() -> None:
    ramp = Linear(start=0.0, end=4.0, steps=10)
    assert value_at(ramp, at(5)) == 2.0
    assert final_value(ramp) == 4.0


def test_scale_multiplies_numbers_and_schedules() -> None:
    slow, fast = Linear(start=0.0, end=4.0, steps=10), Linear(start=1.0, end=3.0, steps=4)
    assert scale(2.0, 3.0) == 6.0
    for product, values, final, steps in [
        (scale(slow, 3.0), (0.0, 6.0, 12.0), 12.0, 10),
        (scale(3.0, slow), (0.0, 6.0, 12.0), 12.0, 10),
        (scale(slow, fast), (0.0, 2.0 * 3.0, 4.0 * 3.0), 12.0, 10),
        (scale(fast, slow), (0.0, 2.0 * 3.0, 4.0 * 3.0), 12.0, 10),
    ]:
        assert isinstance(product, Schedule)
        assert tuple(value_at(product, at(step)) for step in (0, 5, 10)) == values
        assert final_value(product) == final
        assert product.steps == steps


def test_a_product_of_products_is_the_product() -> None:
    ramp = Linear(start=0.0, end=1.0, steps=2)
    assert Scaled(Scaled(ramp, ramp), 8.0).value(at(1)) == 8 * 0.5 * 0.5


def test_known_mistake_a_warm_up_ends_at_its_step_whatever_the_datas_size() -> None:
    """A known mistake: a warm-up in epochs never ends on large data; ours is in optimiser steps alone."""
    ramp = Linear(start=0.0, end=1.0, steps=100)
    for dataset_size in (100, 60_000, 10**9):
        epoch = 100 * 128 // dataset_size
        assert ramp.value(Counters(optimizer_steps=100, samples=100 * 128, epoch=epoch)) == 1.0
        assert ramp.value(Counters(optimizer_steps=50, samples=50 * 128, epoch=epoch // 2)) == 0.5
