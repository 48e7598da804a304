"""The learning curves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from framework import canvas, learning_curves
from framework.learning_curves import draw_learning_curves


def record(step: int, split: str, **metrics: float) -> dict[str, Any]:
    named = {f"{split}/{name.replace('__', '/')}": value for name, value in metrics.items()}
    return {"step": step, "epoch": 0, "samples": 100 * step, "split": split, **named}


RECORDS = [
    record(50, "train", reconstruction=500.0, infovae__mmd=0.5, objective=600.0)
    | {"throughput/examples_per_second": 1e4},
    record(100, "train", reconstruction=120.0, infovae__mmd=math.nan, objective=130.0),
    record(100, "validation", reconstruction=125.0, infovae__mmd=0.25, objective=140.0, elbo=-141.0),
    record(150, "train", reconstruction=110.0, infovae__mmd=0.125, objective=120.0),
    record(150, "test", elbo=-139.0),
]


def test_curves_are_the_records_by_metric_and_split() -> None:
    curves = learning_curves._curves(RECORDS)
    assert list(curves) == ["objective", "elbo", "reconstruction", "infovae/mmd"]
    assert curves["objective"] == {"train": ([50, 100, 150], [600.0, 130.0, 120.0]), "validation": ([100], [140.0])}
    assert curves["elbo"] == {"validation": ([100], [-141.0]), "test": ([150], [-139.0])}
    assert curves["infovae/mmd"]["train"] == ([50, 150], [0.5, 0.125])  # without what is not finite


def test_learning_curves_are_drawn(tmp_path: Path) -> None:
    path = draw_learning_curves(RECORDS, tmp_path)
    assert path == tmp_path / "learning_curves.png"
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as picture:
        assert min(picture.size) > 400


def test_axis_that_leaves_out_the_first_steps_says_so() -> None:
    axes = canvas.new_figure(3, 3).subplots()
    steps = [float(step) for step in range(100)]
    learning_curves._curve_panel(
        axes, "objective", {"train": (steps, [900.0, *(100.0 - step / 10 for step in steps[1:])])}
    )
    assert axes.get_ylim()[1] < 110
    assert [text.get_text() for text in axes.texts] == ["starts at 900"]
    assert axes.get_title(loc="left") == "objective (nats)"


@pytest.mark.parametrize("records", [[], [{"step": 1, "split": "train", "throughput/examples_per_second": 1.0}]])
def test_no_learning_curves_without_metrics(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    assert draw_learning_curves(records, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
