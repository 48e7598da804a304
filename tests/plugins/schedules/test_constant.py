"""The constant schedule."""

from __future__ import annotations

import pytest

from framework import Counters
from framework_plugins.schedules.constant import Constant


@pytest.mark.parametrize("step", [0, 1, 10**9])
def test_it_never_changes(step: int) -> None:
    schedule = Constant(value=-0.25)
    assert schedule.value(Counters(optimizer_steps=step)) == schedule.final == -0.25
    assert schedule.steps == 0
