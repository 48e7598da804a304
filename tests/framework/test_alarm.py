"""Alarms are said once a session, over all validations that a run has made."""

from __future__ import annotations

from framework.alarm import Alarm, History, Watch


def record(step: int, loss: float, split: str = "validation") -> dict[str, object]:
    return {"step": step, "epoch": step, "split": split, f"{split}/loss": loss, "throughput/examples_per_second": 1.0}


def high(history: History) -> str | None:
    return f"high: {[past['loss'] for past in history]}" if history[-1]["loss"] > 1 else None


def rising(history: History) -> str | None:
    return "rising" if len(history) > 1 and history[-1]["loss"] > history[-2]["loss"] else None


ALARMS: tuple[Alarm, ...] = (high, rising)


def test_each_alarm_is_said_once_at_the_first_validation_that_calls_for_it() -> None:
    watch = Watch(ALARMS, "validation")
    assert watch.look(record(1, 0.5)) == []
    assert watch.look(record(2, 3.0)) == ["high: [0.5, 3.0]", "rising"]
    assert watch.look(record(3, 4.0)) == []
    assert watch.standing() == ["high: [0.5, 3.0, 4.0]", "rising"]


def test_what_is_over_does_not_stand() -> None:
    watch = Watch(ALARMS, "validation")
    assert [len(watch.look(record(step, loss))) for step, loss in enumerate((2.0, 0.5))] == [1, 0]
    assert watch.standing() == []


def test_records_of_other_splits_are_passed_over() -> None:
    watch = Watch(ALARMS, "validation")
    assert watch.look(record(1, 9.0, "train")) == watch.look(record(1, 9.0, "test")) == []
    assert watch.standing() == []


def test_a_run_that_goes_on_knows_its_past_and_says_once_more_what_is_still_true() -> None:
    watch = Watch(ALARMS, "validation", [record(1, 9.0), record(1, 9.0, "train"), record(2, 3.0)])
    assert watch.standing() == ["high: [9.0, 3.0]"]
    assert watch.look(record(3, 2.0)) == ["high: [9.0, 3.0, 2.0]"]
    assert watch.look(record(4, 2.5)) == ["rising"]
