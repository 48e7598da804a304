"""The learning curves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from framework import canvas, learning_curves
from framework.learning_curves import centred_mean, draw_learning_curves


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


def acting(step: int, env_steps: int, split: str, **metrics: float) -> dict[str, Any]:
    named = {f"{split}/{name}": value for name, value in metrics.items()}
    return {"step": step, "env_steps": env_steps, "episodes": 0, "split": split, **named}


def panels_of(records: list[dict[str, Any]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Axes]:
    """The panels that are drawn, by the first word of their titles."""
    figures: list[Figure] = []

    def save(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return canvas.save(figure, path)

    monkeypatch.setattr(learning_curves, "save", save)
    assert draw_learning_curves(records, folder) == folder / "learning_curves.png"
    (figure,) = figures
    return {axes.get_title(loc="left").split(" ")[0]: axes for axes in figure.axes}


def line(axes: Axes, number: int) -> tuple[list[float], list[float]]:
    drawn = axes.get_lines()[number]
    return list(np.asarray(drawn.get_xdata())), list(np.asarray(drawn.get_ydata()))


RETURNS = np.random.default_rng(0).normal(10.0, 4.0, 100).tolist()
ACTING = [
    *(
        acting(index + 1, 8 * (index + 1), "train", entropy=0.5, **{"return": value, "return_standard_error": 0.25})
        for index, value in enumerate(RETURNS)
    ),
    acting(50, 400, "evaluation", **{"return": 11.0, "return_standard_error": 0.5}),
    acting(100, 800, "evaluation", **{"return": 12.0, "return_standard_error": 0.75}),
]


def test_an_agents_return_comes_first_over_environment_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels = panels_of(ACTING, tmp_path, monkeypatch)
    assert list(panels) == ["return", "entropy"]  # and none of the standard error
    assert panels["entropy"].get_title(loc="left") == "entropy (nats)"
    assert panels["return"].get_xlabel() == "environment steps"
    places, values = line(panels["return"], 0)
    assert places == [8 * (index + 1) for index in range(100)]
    assert values == RETURNS


def test_an_agents_return_has_a_moving_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = panels_of(ACTING, tmp_path, monkeypatch)["return"]
    _, means = line(axes, 1)
    expected = [np.mean(RETURNS[max(0, place - 9) : place + 10]) for place in range(100)]
    np.testing.assert_allclose(means, expected, rtol=1e-12)  # sums in another order
    assert axes.get_title(loc="right") == "bold: centred mean of 19 records"


def test_the_moving_mean_does_not_trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [acting(step, step, "train", **{"return": 3.0 * step}) for step in range(1, 201)]
    axes = panels_of(records, tmp_path, monkeypatch)["return"]
    places, means = line(axes, 1)
    np.testing.assert_allclose(means[10:-10], 3 * np.array(places[10:-10]), rtol=1e-12)
    assert axes.get_title(loc="right") == "bold: centred mean of 21 records"


def test_few_records_have_a_shorter_moving_mean_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = panels_of(ACTING[:50], tmp_path, monkeypatch)["return"]
    assert some.get_title(loc="right") == "bold: centred mean of 9 records"
    few = panels_of(ACTING[:9], tmp_path, monkeypatch)["return"]
    assert len(few.get_lines()) == 1
    assert few.get_title(loc="right") == ""


def test_a_standard_error_is_a_band_or_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        acting(1, 10, "train", reward=1.0, reward_standard_error=0.5),
        acting(2, 20, "train", reward=2.0),  # a single episode has no standard error
        acting(3, 30, "train", reward=3.0, reward_standard_error=0.25),
        acting(4, 40, "train", reward=4.0, reward_standard_error=0.125),
        acting(4, 40, "evaluation", reward=5.0, reward_standard_error=0.75),
    ]
    axes = panels_of(records, tmp_path, monkeypatch)["reward"]
    band, bars = axes.collections
    corners = {(x, y) for path in band.get_paths() for x, y in np.asarray(path.vertices).tolist()}
    assert corners == {(10, 0.5), (10, 1.5), (30, 2.75), (30, 3.25), (40, 3.875), (40, 4.125)}
    assert isinstance(bars, LineCollection)
    assert [segment.tolist() for segment in bars.get_segments()] == [[[40, 4.25], [40, 5.75]]]


def test_records_at_one_place_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [acting(step, 64 * (1 + step // 4), "train", kl=float(step)) for step in range(8)]  # four passes each
    assert line(panels_of(records, tmp_path, monkeypatch)["kl"], 0) == ([64, 128], [1.5, 5.5])


def test_thousands_of_records_are_thinned_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [acting(step, step, "train", td_error=float(step)) for step in range(1, 4_003)]
    axes = panels_of(records, tmp_path, monkeypatch)["td_error"]
    places, values = line(axes, 0)
    assert values == places
    assert values == [3 * group + 2.0 for group in range(1_334)]  # of 3 each
    assert axes.get_title(loc="right") == "points: means of 3"


def test_without_environment_steps_the_axis_is_of_optimiser_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [acting(step, 0, "train", residual=1 / step) for step in range(1, 5)]
    axes = panels_of(records, tmp_path, monkeypatch)["residual"]
    assert axes.get_xlabel() == "optimiser steps"
    assert line(axes, 0)[0] == [1, 2, 3, 4]


def test_the_rise_of_the_return_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.0, *(100.0 + step % 2 for step in range(99))]
    records = [
        acting(step, step, "train", value_loss=value, **{"return": value}) for step, value in enumerate(values, 1)
    ]
    panels = panels_of(records, tmp_path, monkeypatch)
    assert panels["return"].get_ylim()[0] < 0
    assert panels["value_loss"].get_ylim()[0] > 99


@pytest.mark.parametrize("window", [1, 3, 5, 51])
def test_centred_mean_is_of_as_many_before_as_after(window: int) -> None:
    values = np.random.default_rng(1).normal(size=20)
    half = window // 2
    expected = [values[max(0, place - half) : place + half + 1].mean() for place in range(20)]
    np.testing.assert_allclose(centred_mean(values, window), expected, atol=1e-14)  # differences of sums of 20 numbers
