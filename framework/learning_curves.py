"""The learning curves of a run: every metric over the optimiser steps, as a PNG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style

SPLITS = {"train": PALETTE[0], "validation": PALETTE[6], "evaluation": PALETTE[6], "test": INK}
LEADING = ("objective", "elbo", "reconstruction")  # the first panels of the learning curves
NATS = ("objective", "elbo", "reconstruction", "kl")  # of known unit; the other divergences have units of their own

Curves = dict[str, dict[str, tuple[list[float], list[float]]]]


def draw_learning_curves(records: Sequence[Mapping[str, Any]], folder: Path) -> Path | None:
    """Draw every metric over the optimiser steps, a panel each; training, validation and test in one panel.

    An axis that would be filled by the first steps leaves them out, and says where the curve begins.

    Args:
        records: the lines of metrics.jsonl.
        folder: where `learning_curves.png` goes; it exists.

    Returns:
        The file, or None when there is nothing to draw.
    """
    curves = _curves(records)
    if not curves:
        return None
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.6 * columns, 2.5 * rows + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, name in zip(panels, curves, strict=False):
        _curve_panel(panel, name, curves[name])
    for panel in panels[len(curves) :]:
        panel.remove()
    for panel in panels[max(0, len(curves) - columns) : len(curves)]:
        panel.set_xlabel("optimiser steps")
    shown = [split for split in SPLITS if any(split in curve for curve in curves.values())]
    handles = [Line2D([], [], color=SPLITS[split], marker=_marker(split), markersize=4) for split in shown]
    figure.legend(handles, shown, loc="outside upper right", ncols=len(shown), frameon=False, fontsize=9)
    return save(figure, folder / "learning_curves.png")


def _curves(records: Sequence[Mapping[str, Any]]) -> Curves:
    """Return steps and finite values by metric and split, the leading metrics first."""
    curves: Curves = {}
    for record in records:
        for key, value in record.items():
            split, _, name = key.partition("/")
            if name and split in SPLITS and isinstance(value, int | float) and math.isfinite(value):
                steps, values = curves.setdefault(name, {}).setdefault(split, ([], []))
                steps.append(record["step"])
                values.append(value)
    order = [name for name in LEADING if name in curves]
    return {name: curves[name] for name in [*order, *(name for name in curves if name not in order)]}


def _curve_panel(axes: Axes, name: str, curve: dict[str, tuple[list[float], list[float]]]) -> None:
    style(axes)
    axes.grid(axis="y", color="#eceef0", linewidth=0.8)
    for split, (steps, values) in curve.items():
        axes.plot(steps, values, color=SPLITS[split], linewidth=1.5, marker=_marker(split), markersize=4)
    axes.set_title(f"{name} (nats)" if name.split("/")[-1] in NATS else name, loc="left", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    points = sorted(
        (step, value) for steps, values in curve.values() for step, value in zip(steps, values, strict=True)
    )
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
