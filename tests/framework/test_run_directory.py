"""The run directory's files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from framework.run_directory import MetricsFile, RunDirectory


def test_two_runs_at_the_same_second_have_directories_of_their_own(tmp_path: Path) -> None:
    one, other = (RunDirectory.create(tmp_path, "recipe") for _ in range(2))
    assert one.path != other.path
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", one.id)


def test_records_are_cut_to_the_checkpoint_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        metrics.append({"step": 1})
        size = metrics.sync()
        metrics.append({"step": 2})
    with path.open("a") as file:
        file.write('{"step": 3, "cut of')  # what a kill leaves
    with MetricsFile(path, size) as metrics:
        metrics.append({"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_json_has_no_nan(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path, "recipe")
    with pytest.raises(ValueError, match="not JSON compliant"):
        directory.write_json(directory.summary, {"test/elbo": float("nan")})
    assert not directory.summary.exists()
