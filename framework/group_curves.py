"""The learning curves of a group: the mean over the seeds, its standard error, and the single runs behind, as a PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from framework.canvas import FAINT, INK, new_figure, save, style
from framework.learning_curves import NATS, SPLITS

AXES = {"env_steps": "environment steps", "step": "optimiser steps"}  # the first that the records have
LEADING = ("return", "reward", "optimal", "objective", "elbo", "reconstruction")
MOST = 3  # panels
POINTS = 200  # of an axis that the runs do not share
DRAWN = ("train", "validation", "evaluation")  # a test is one point, and in the summary

Array = NDArray[np.float64]
Curve = tuple[Array, Array]  # places on the axis, increasing, and values


@dataclass(frozen=True)
class Band:
    """The mean of several curves on an axis that they share.

    Args:
        places: [P] on the axis.
        mean: [P].
        error: [P], the standard error of the mean; 0 of a single curve.
        interpolated: whether the curves had other places than these.
    """

    places: Array
    mean: Array
    error: Array
    interpolated: bool


def draw_group_curves(records: Mapping[int, Sequence[Mapping[str, Any]]], path: Path) -> Path | None:
    """Draw the leading metrics of several runs, a panel each, training and validation or evaluation in one.

    Over environment steps where the runs have them, otherwise over optimiser steps.

    Args:
        records: the lines of each run's metrics.jsonl, by its seed.
        path: the PNG file.

    Returns:
        The file, or None when there is nothing to draw.
    """
    axis = next((axis for axis in AXES if any(axis in line for lines in records.values() for line in lines)), "step")
    panels = _panels(records, axis)
    if not panels:
        return None
    figure = new_figure(max(6.8, 4.4 * len(panels)), 3.6)
    bands: list[dict[str, Band | None]] = []
    for axes, (name, curves) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        bands.append(_draw_panel(axes, name, curves, len(records)))
        axes.set_xlabel(AXES[axis])
    _add_legend(figure, bands, len(records))
    if any(band is not None and band.interpolated for panel in bands for band in panel.values()):
        note = f"interpolated linearly at {POINTS} places of the range that all runs share"
        figure.supxlabel(note, x=0.99, ha="right", fontsize=7, color=FAINT)
    return save(figure, path)


def average(curves: Sequence[Curve]) -> Band | None:
    """Return the mean of some curves, and its standard error s/√n.

    Curves with the same places keep them. Others are interpolated linearly at 200 places, evenly over the range that
    all of them have; none is carried on beyond its end.

    Args:
        curves: at least one.

    Returns:
        None where they share less than two places.

    Example:
        >>> straight = (np.array([0.0, 10.0]), np.array([0.0, 10.0]))
        >>> average([straight, (np.array([5.0, 10.0]), np.array([7.0, 12.0]))]).mean[[0, -1]]
        array([ 6., 11.])
    """
    places = curves[0][0]
    interpolated = any(not np.array_equal(places, other) for other, _ in curves)
    if interpolated:
        start, end = max(others[0] for others, _ in curves), min(others[-1] for others, _ in curves)
        if start >= end:
            return None
        places = np.linspace(start, end, POINTS)
    values = np.stack([np.interp(places, *curve) for curve in curves])  # [runs, P]
    several = len(curves) > 1
    error = values.std(axis=0, ddof=1) / math.sqrt(len(curves)) if several else np.zeros(len(places))
    return Band(places, values.mean(axis=0), error, interpolated)


def _panels(records: Mapping[int, Sequence[Mapping[str, Any]]], axis: str) -> dict[str, dict[str, list[Curve]]]:
    """Return the curves of every run by metric and split, the leading metrics or, where there is none, the first."""
    points: dict[str, dict[str, dict[int, dict[float, list[float]]]]] = {}
    for seed, lines in records.items():
        for line in lines:
            for key, value in line.items():
                split, _, name = key.partition("/")
                if name and split in DRAWN and isinstance(value, int | float) and math.isfinite(value):
                    curve = points.setdefault(name, {}).setdefault(split, {}).setdefault(seed, {})
                    curve.setdefault(line[axis], []).append(value)
    names = [name for name in LEADING if name in points] or list(points)
    return {
        name: {split: [_curve(curve) for curve in runs.values()] for split, runs in points[name].items()}
        for name in names[:MOST]
    }


def _curve(points: Mapping[float, Sequence[float]]) -> Curve:
    """Return a curve; several records at one place, as of the passes over one rollout, are averaged."""
    places = sorted(points)
    return np.array(places, dtype=np.float64), np.array([np.mean(points[place]) for place in places])


def _add_legend(figure: Figure, bands: Sequence[Mapping[str, Band | None]], count: int) -> None:
    """Name what was drawn: a split's mean or, where its runs share no range in any panel, its single runs alone."""
    mean = "mean of 1 seed" if count == 1 else f"mean of {count} seeds"
    handles: list[Artist] = []
    names: list[str] = []
    for split in DRAWN:
        found = [panel[split] for panel in bands if split in panel]
        if any(band is not None for band in found):
            handles.append(Line2D([], [], color=SPLITS[split]))
            names.append(f"{split}, {mean}")
        elif found:
            handles.append(Line2D([], [], color=SPLITS[split], linewidth=0.6, alpha=0.6, marker="o", markersize=2))
            names.append(f"{split}, single runs")
    if any(band is not None for panel in bands for band in panel.values()):
        handles += [Patch(color=FAINT, alpha=0.3), Line2D([], [], color=FAINT, linewidth=0.6, alpha=0.6)]
        names += ["± 1 standard error", "single runs"]
    figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False, fontsize=8)


def _draw_panel(axes: Axes, name: str, curves: Mapping[str, Sequence[Curve]], count: int) -> dict[str, Band | None]:
    """Draw one metric of `count` runs; return the mean that was drawn of each split, None where there is none."""
    style(axes)
    axes.grid(axis="y", color="#eceef0", linewidth=0.8)
    bands: dict[str, Band | None] = {}
    for split, runs in curves.items():
        colour, marker = SPLITS[split], "" if split == "train" else "o"
        for places, values in runs:
            alone = marker or ("o" if len(places) == 1 else "")
            axes.plot(places, values, color=colour, linewidth=0.6, alpha=0.35, marker=alone, markersize=2)
        bands[split] = band = average(runs)
        if band is None:
            continue
        shown = "" if band.interpolated else marker
        axes.fill_between(
            band.places, band.mean - band.error, band.mean + band.error, color=colour, alpha=0.2, linewidth=0
        )
        axes.plot(band.places, band.mean, color=colour, linewidth=1.6, marker=shown, markersize=3.5)
    fewer = [f"{split}: {len(runs)} of {count} seeds" for split, runs in curves.items() if len(runs) < count]
    title = ", ".join([f"{name} (nats)" if name in NATS else name, *fewer])
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return bands
