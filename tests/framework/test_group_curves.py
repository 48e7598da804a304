"""The learning curves of a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from framework import canvas, group_curves
from framework.group_curves import average, draw_group_curves


def record(step: int, split: str, **values: Any) -> dict[str, Any]:
    return {"step": step, "env_steps": 10 * step, "split": split} | {
        f"{split}/{key}": one for key, one in values.items()
    }


RECORDS = {
    0: [
        record(1, "train", **{"return": 5.0, "entropy": 0.5}),
        record(2, "train", entropy=0.4),  # no episode has ended
        record(4, "train", **{"return": 8.0, "entropy": 0.3}),
        record(4, "evaluation", **{"return": 9.0}),
    ],
    3: [record(1, "train", **{"return": 6.0}), record(4, "train", **{"return": 10.0})],
}


def test_mean_and_standard_error_at_places_that_all_share() -> None:
    places = np.array([1.0, 2.0])
    band = average([(places, np.array([1.0, 5.0])), (places, np.array([3.0, 5.0]))])
    assert band is not None
    assert not band.interpolated
    assert (band.places.tolist(), band.mean.tolist()) == ([1.0, 2.0], [2.0, 5.0])
    # s = √2, n = 2
    assert band.error == pytest.approx([1.0, 0.0])


def test_other_places_are_interpolated_over_the_range_of_all() -> None:
    short = (np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0, 8.0]))
    long = (np.array([2.0, 10.0]), np.array([6.0, 14.0]))
    band = average([short, long])
    assert band is not None
    assert band.interpolated
    assert len(band.places) == 200
    assert (band.places[0], band.places[-1]) == (2.0, 4.0)
    # They are the lines 2x and x + 4, and straight interpolation is exact for these.
    assert band.mean == pytest.approx((3 * band.places + 4) / 2)
    assert band.error == pytest.approx(np.abs(4 - band.places) / 2, abs=1e-12)


def test_curves_that_share_no_range_have_no_mean() -> None:
    assert average([(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.zeros(2))]) is None


def test_panels_are_the_leading_metrics_over_environment_steps() -> None:
    panels = group_curves._panels(RECORDS, "env_steps")
    assert list(panels) == ["return"]
    (first, second), (evaluation,) = panels["return"]["train"], panels["return"]["evaluation"]
    assert (first[0].tolist(), first[1].tolist()) == ([10.0, 40.0], [5.0, 8.0])
    assert second[1].tolist() == [6.0, 10.0]
    assert evaluation[1].tolist() == [9.0]


def test_records_at_one_place_are_averaged() -> None:
    lines = [{**record(step, "train", objective=float(step)), "env_steps": 8} for step in (1, 2, 3)]
    (curve,) = group_curves._panels({0: lines}, "env_steps")["objective"]["train"]
    assert (curve[0].tolist(), curve[1].tolist()) == ([8.0], [2.0])


def test_a_metric_of_fewer_runs_says_so() -> None:
    axes = canvas.new_figure(3, 3).subplots()
    group_curves._draw_panel(axes, "return", group_curves._panels(RECORDS, "env_steps")["return"], 2)
    assert axes.get_title(loc="left") == "return, evaluation: 1 of 2 seeds"
    assert len(axes.lines) == 5  # three runs, and two means


def legend_of(records: dict[int, list[dict[str, Any]]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    figures: list[Figure] = []

    def save(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return canvas.save(figure, path)

    monkeypatch.setattr(group_curves, "save", save)
    draw_group_curves(records, folder / "group.png")
    return [text.get_text() for text in figures[0].legends[0].get_texts()]


def test_the_legend_names_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = ["± 1 standard error", "single runs"]
    assert legend_of(RECORDS, tmp_path, monkeypatch) == ["train, mean of 2 seeds", "evaluation, mean of 2 seeds", *rest]
    # Evaluations of one moment each, after different numbers of environment steps: there is no mean of them.
    apart = {3: [*RECORDS[3], record(5, "evaluation", **{"return": 9.0})], 0: RECORDS[0]}
    assert legend_of(apart, tmp_path, monkeypatch) == ["train, mean of 2 seeds", "evaluation, single runs", *rest]


def test_figure_is_drawn(tmp_path: Path) -> None:
    path = draw_group_curves(RECORDS, tmp_path / "group.png")
    assert path == tmp_path / "group.png"
    with Image.open(path) as picture:
        assert min(picture.size) > 400
    assert draw_group_curves({0: []}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_a_data_sets_learner_is_drawn_over_steps(tmp_path: Path) -> None:
    lines = [{"step": step, "split": "train", "train/objective": 1.0, "train/elbo": -1.0} for step in (1, 2)]
    assert list(group_curves._panels({0: lines}, "step")) == ["objective", "elbo"]
    assert draw_group_curves({0: lines}, tmp_path / "group.png") is not None
