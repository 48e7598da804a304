"""Two runs that should be the same model: their weights and their records, to rounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import checkpoint


def run_in(root: Path, name: str) -> Path:
    """Return the one run directory of a name, however many processes made it."""
    (run,) = (root / name).iterdir()
    return run


def state_of(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoints" / checkpoint.LAST)


def records(run: Path) -> list[dict[str, Any]]:
    """The records without the one value that is a time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("throughput/")} for line in lines]


def assert_same(run: Path, expected: Path, tolerance: float) -> None:
    """Compare weights, and what was recorded; the tolerance is that of the weights, absolute."""
    weights, expected_weights = state_of(run)["learner"], state_of(expected)["learner"]
    assert weights.keys() == expected_weights.keys() != set()
    for name, value in weights.items():
        difference = f"{run.parent.name}: {name}"
        torch.testing.assert_close(value, expected_weights[name], rtol=0, atol=tolerance, msg=difference)
    found, wanted = records(run), records(expected)
    assert [list(record) for record in found] == [list(record) for record in wanted]
    for record, other in zip(found, wanted, strict=True):
        for name, value in record.items():
            # What ten roundings of a weight make of a metric, the smallest of which are near zero.
            near = (
                pytest.approx(other[name], rel=10 * tolerance, abs=10 * tolerance) if name != "split" else other[name]
            )
            assert value == near, f"{run.parent.name}: {name} at step {record['step']}"
