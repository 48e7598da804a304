"""How figures look, and how they are written: matplotlib's objects alone, without pyplot.

Nothing global changes, and no display is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from framework.files import atomic

DOTS_PER_INCH = 160
INK, FAINT = "#33373d", "#8b919a"
# Ten colours that people of any colour vision tell apart: Petroff, "Accessible color sequences for data visualization",
# 2021, https://arxiv.org/abs/2107.02270.
PALETTE = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Axes) -> None:
    """Give axes thin lines and small print."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.7)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=8, width=0.7, length=3)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)


def write_title(axes: Axes, title: str, subtitle: str) -> None:
    """Write a title above axes, and below it what is seen."""
    axes.set_title(subtitle, loc="left", fontsize=9, color=FAINT)
    place: Any = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 20), "textcoords": "offset points"}
    axes.annotate(title, **place, fontsize=12, weight="bold", color=INK)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and return its path."""
    with atomic(path) as file:
        figure.savefig(file, format="png")
    return path
