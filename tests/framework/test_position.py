"""How far a run has come: when a limit is reached, and that a checkpoint keeps all of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from framework.position import Position
from framework.schedule import Counters
from framework.trainer import Trainer

AT = Position(
    counters=Counters(optimizer_steps=40, samples=2560, epoch=2), step_in_epoch=3, validations_since_best=1, seconds=90
)
FAR: dict[str, Any] = {"max_epochs": 99}  # a limit must be set


@pytest.mark.parametrize(("max_time", "expected"), [(None, False), (1.5, True), (1.49, True), (1.51, False)])
def test_the_time_is_up_from_its_minute_on(max_time: float | None, expected: bool) -> None:
    assert AT.has_run_out(Trainer(max_epochs=99, max_time=max_time)) is expected


def test_seconds_that_are_not_counted_yet_are_added() -> None:
    limits = Trainer(max_epochs=99, max_time=2)
    assert not AT.has_run_out(limits, 29.9)
    assert AT.has_run_out(limits, 30)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (FAR, False),
        ({"max_epochs": 3}, False),
        ({"max_epochs": 2}, True),
        ({"max_epochs": 1}, True),
        ({"max_steps": 41}, False),
        ({"max_steps": 40}, True),
        ({"max_steps": 39}, True),
        (FAR | {"max_steps": 40}, True),  # the first that is reached
        (FAR | {"early_stopping": 2}, False),
        (FAR | {"early_stopping": 1}, True),
        ({"max_time": 0.1}, False),  # whoever asks says whether the time is up: processes decide it together
    ],
    ids=str,
)
def test_each_limit_is_reached_from_its_number_on(limits: dict[str, Any], expected: bool) -> None:
    assert AT.has_reached(Trainer(**limits), time_is_up=False) is expected


def test_a_time_that_is_up_ends_training_before_any_other_limit() -> None:
    assert AT.has_reached(Trainer(**FAR), time_is_up=True) is True


def test_a_position_is_what_its_state_makes() -> None:
    window = {"objective": torch.tensor(3.5, dtype=torch.float64)}
    position = Position(Counters(40, 2560, 2), 3, 1.25, 1, 90.5, window, 7, 4.5, 2112, True)
    others = set(asdict(position)) - {"counters", "window"}
    assert all(getattr(position, name) != getattr(Position(), name) for name in others), "each field is looked at"
    state = position.state()
    assert state["counters"] == {"optimizer_steps": 40, "samples": 2560, "epoch": 2, "env_steps": 0, "episodes": 0}
    assert Position.of(state) == position
    state["window"]["objective"] = torch.tensor(0.0)
    assert position.window["objective"] == 3.5, "a checkpoint's window is its own"


@pytest.mark.parametrize(
    ("limits", "step_in_rollout", "expected"),
    [
        ({"max_env_steps": 1001}, 0, False),
        ({"max_env_steps": 1000}, 0, True),
        ({"max_episodes": 8}, 0, False),
        ({"max_episodes": 7}, 0, True),
        ({"max_env_steps": 1, "max_episodes": 1}, 2, False),  # the rollout is learnt from to its end
    ],
    ids=str,
)
def test_a_budget_of_acting_ends_with_a_rollout(limits: dict[str, Any], step_in_rollout: int, expected: bool) -> None:
    position = Position(Counters(env_steps=1000, episodes=7), step_in_rollout)
    assert position.has_reached(Trainer(**limits), time_is_up=False) is expected
