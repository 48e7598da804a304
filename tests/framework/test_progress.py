"""What a person sees of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from framework.progress import ProgressReport, report_end
from framework.run_directory import RunDirectory
from tests.framework.small_runs import SOLVED_LAKE, trained


class Said:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def ending(warnings: list[str] | None = None, **metrics: float) -> list[str]:
    """The lines at the end of a run, without the run's own."""
    said = Said()
    summary: dict[str, Any] = {name.replace("__", "/"): value for name, value in metrics.items()}
    summary |= {"fallbacks": [], "warnings": warnings or []}
    report_end(cast(ProgressReport, said), summary, RunDirectory(Path("a")))
    assert said.lines.pop() == "run: a"
    return said.lines


def test_the_end_is_the_tests_numbers_and_the_speed() -> None:
    assert ending(train__return=3.0, test__return=480.0, test__length=480.5, throughput__env_steps_per_second=1e4) == [
        "test/return                     480.0000",
        "test/length                     480.5000",
        "env steps per second              10,000",
    ]


def test_without_a_test_the_end_is_the_last_of_training() -> None:
    assert ending(train__td_error=9.0, train__optimal=0.75, train__reward=1.5, train__reward_standard_error=0.125) == [
        "train/reward                      1.5000 ± 0.1250 (standard error)",
        "train/optimal                     0.7500",
    ]
    assert ending(train__objective=9.0) == []


@pytest.mark.parametrize("recipe", [SOLVED_LAKE])
def test_what_never_acts_counts_no_environment_steps(tmp_path: Path, recipe: str) -> None:
    log = (trained(tmp_path, recipe) / "log.txt").read_text()
    assert "environment steps" not in log
    assert "episode 0" not in log
    assert any(line.startswith("step ") for line in log.splitlines())


def test_the_end_repeats_the_alarms_that_stand() -> None:
    assert ending(["the codes are off the prior"], test__return=1.0)[1:] == ["warning: the codes are off the prior"]
