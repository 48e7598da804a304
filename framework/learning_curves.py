"""The learning curves of a run: every metric over the optimiser or environment steps, as a PNG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style

SPLITS = {"train": PALETTE[0], "validation": PALETTE[6], "evaluation": PALETTE[6], "test": INK}
PERFORMANCE = ("return", "reward", "optimal")  # what an agent is for: their rise is shown whole
LEADING = (*PERFORMANCE, "objective", "elbo", "reconstruction")  # the first panels of the learning curves
# The other divergences have units of their own.
NATS = ("objective", "elbo", "reconstruction", "kl", "aggregate_mismatch", "entropy")
UNITS = {**dict.fromkeys(NATS, "nats"), "value_loss": "squared reward", "length": "steps"}
ERROR = "_standard_error"  # what the name of a metric's standard error ends with
WINDOW = 21  # records in the centred mean of the return, or a fifth of them where they are fewer than 105
POINTS = 2_000  # of a curve; of more some are averaged into one
CROWDED = 200  # points, above which a noisy line is thin: it would hide its band

Curves = dict[str, dict[str, tuple[list[float], list[float]]]]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A metric of an agent's run.

    Args:
        places: [P] on the axis, increasing.
        values: [P].
        errors: [P], standard errors; not a number where there is none.
    """

    places: Array
    values: Array
    errors: Array


def draw_learning_curves(records: Sequence[Mapping[str, Any]], folder: Path) -> Path | None:
    """Draw every metric over the steps, a panel each; training, validation or evaluation, and test in one panel.

    An axis that would be filled by the first steps leaves them out, and says where the curve begins. An agent's metrics
    are over environment steps, if it took any, with a band of one standard error to each side; returns have a centred
    moving mean. Where an agent has more than 2,000 records some are averaged, and it says how many.

    Args:
        records: the lines of metrics.jsonl.
        folder: where `learning_curves.png` goes; it exists.

    Returns:
        The file, or None when there is nothing to draw.
    """
    acts = any("env_steps" in record for record in records)
    axis = "env_steps" if any(record.get("env_steps", 0) > 0 for record in records) else "step"
    curves = _curves(records, axis)
    errors = {name: curves.pop(name + ERROR) for name in list(curves) if name + ERROR in curves}
    if not curves:
        return None
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.6 * columns, 2.5 * rows + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    end = max(step for curve in curves.values() for steps, _ in curve.values() for step in steps)
    for panel, name in zip(panels, curves, strict=False):
        if acts:
            panel.set_xlim(-0.02 * max(end, 1), 1.03 * max(end, 1))
            _agent_panel(panel, name, _lines(curves[name], errors.get(name, {})))
        else:
            _curve_panel(panel, name, curves[name])
    for panel in panels[len(curves) :]:
        panel.remove()
    for panel in panels[max(0, len(curves) - columns) : len(curves)]:
        panel.set_xlabel("environment steps" if axis == "env_steps" else "optimiser steps")
    shown = [split for split in SPLITS if any(split in curve for curve in curves.values())]
    handles: list[Artist] = [
        Line2D([], [], color=SPLITS[split], marker=_marker(split), markersize=4) for split in shown
    ]
    if errors:
        handles.append(Patch(color=FAINT, alpha=0.3))
        shown.append("± 1 standard error")
    figure.legend(handles, shown, loc="outside upper right", ncols=len(shown), frameon=False, fontsize=9)
    return save(figure, folder / "learning_curves.png")


def centred_mean(values: Array, window: int) -> Array:
    """Return the mean of each value and as many before as after it, `window` in all, an odd number; at both ends, of
    those of them that there are. What rises evenly stays where it is: a mean of what came before would trail behind.

    Example:
        >>> centred_mean(np.array([1.0, 3.0, 5.0, 7.0]), 3)
        array([2., 3., 5., 6.])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    starts = np.maximum(0, places - window // 2)
    ends = np.minimum(len(values), places + window // 2 + 1)
    means: Array = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def thinned(values: Array, count: int) -> Array:
    """Return the means of `count` values each, of the last ones perhaps fewer.

    Example:
        >>> thinned(np.array([1.0, 3.0, 5.0]), 2)
        array([2., 5.])
    """
    starts = np.arange(0, len(values), count)
    means: Array = np.add.reduceat(values, starts) / np.diff([*starts, len(values)])
    return means


def _curves(records: Sequence[Mapping[str, Any]], axis: str = "step") -> Curves:
    """Return steps and finite values by metric and split, the leading metrics first."""
    curves: Curves = {}
    for record in records:
        for key, value in record.items():
            split, _, name = key.partition("/")
            if name and split in SPLITS and isinstance(value, int | float) and math.isfinite(value):
                steps, values = curves.setdefault(name, {}).setdefault(split, ([], []))
                steps.append(record[axis])
                values.append(value)
    order = [name for name in LEADING if name in curves]
    return {name: curves[name] for name in [*order, *(name for name in curves if name not in order)]}


def _lines(
    curve: Mapping[str, tuple[list[float], list[float]]], errors: Mapping[str, tuple[list[float], list[float]]]
) -> dict[str, Line]:
    """Return what is drawn of each split; records at one place, as of the passes over a rollout, are averaged."""
    lines = {}
    for split, (steps, values) in curve.items():
        places, means = _by_place(steps, values)
        known = np.full(len(places), math.nan)
        if split in errors:
            where, sizes = _by_place(*errors[split])
            known[np.searchsorted(places, where)] = sizes  # an error comes with a value
        lines[split] = Line(places, means, known)
    return lines


def _by_place(steps: Sequence[float], values: Sequence[float]) -> tuple[Array, Array]:
    places, index = np.unique(np.asarray(steps, np.float64), return_inverse=True)
    return places, np.bincount(index, values) / np.bincount(index)


def _agent_panel(axes: Axes, name: str, lines: Mapping[str, Line]) -> None:
    _begin_panel(axes, name)
    notes: list[str] = []
    for split, line in lines.items():
        if split == "train":
            notes += _train_line(axes, name, line)
            continue
        bars = None if np.isnan(line.errors).all() else line.errors
        look: dict[str, Any] = {"color": SPLITS[split], "marker": _marker(split), "markersize": 4, "linewidth": 0.8}
        axes.errorbar(line.places, line.values, bars, elinewidth=1.0, capsize=2, zorder=3, **look)
    if notes:
        axes.set_title(", ".join(notes), loc="right", fontsize=8, color=FAINT)
    if name not in PERFORMANCE:
        _leave_out_beginning(axes, [(line.places, line.values) for line in lines.values()])


def _train_line(axes: Axes, name: str, line: Line) -> list[str]:
    """Draw a line with its band, of the return both faint below a moving mean; return what has to be said of it."""
    notes: list[str] = []
    fifth = len(line.values) // 5
    window = min(WINDOW, fifth - 1 + fifth % 2) if name == "return" else 1  # odd
    count = -(-len(line.values) // POINTS)
    places, values, errors = (thinned(each, count) for each in (line.places, line.values, line.errors))
    smooth, crowded = window > 1, len(places) > CROWDED
    colour = SPLITS["train"]
    if not np.isnan(errors).all():
        shade = 0.15 if smooth else 0.35
        axes.fill_between(places, values - errors, values + errors, color=colour, alpha=shade, linewidth=0)
    alone = "o" if len(places) == 1 else ""
    width, opacity = 0.7 if smooth or crowded else 1.5, 0.4 if smooth else 1.0
    axes.plot(places, values, color=colour, linewidth=width, alpha=opacity, marker=alone, markersize=3)
    if smooth:
        axes.plot(places, thinned(centred_mean(line.values, window), count), color=colour, linewidth=1.6)
        notes.append(f"bold: centred mean of {window} records")
    if count > 1:
        notes.append(f"points: means of {count}")
    return notes


def _begin_panel(axes: Axes, name: str) -> None:
    style(axes)
    axes.grid(axis="y", color="#eceef0", linewidth=0.8)
    unit = UNITS.get(name.split("/")[-1])
    axes.set_title(f"{name} ({unit})" if unit else name, loc="left", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _curve_panel(axes: Axes, name: str, curve: dict[str, tuple[list[float], list[float]]]) -> None:
    _begin_panel(axes, name)
    for split, (steps, values) in curve.items():
        axes.plot(steps, values, color=SPLITS[split], linewidth=1.5, marker=_marker(split), markersize=4)
    _leave_out_beginning(axes, list(curve.values()))


def _leave_out_beginning(axes: Axes, curves: Sequence[tuple[Sequence[float] | Array, Sequence[float] | Array]]) -> None:
    """Let the values after the first tenth of the steps fill the axis, and say where the curves begin."""
    points = sorted((step, value) for steps, values in curves for step, value in zip(steps, values, strict=True))
    start, end = points[0][0], points[-1][0]
    settled = [value for step, value in points if step > start + 0.1 * (end - start)] or [points[0][1]]
    low, high = min(settled), max(settled)
    every = [value for _, value in points]
    if low < high and max(every) - min(every) > 2 * (high - low):
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        falls = points[0][1] > high
        place, side = (0.97, "top") if falls else (0.03, "bottom")
        note = f"starts at {points[0][1]:.4g}"
        axes.text(0.98, place, note, transform=axes.transAxes, ha="right", va=side, fontsize=8, color=FAINT)


def _marker(split: str) -> str:
    return {"train": "", "test": "D"}.get(split, "o")
