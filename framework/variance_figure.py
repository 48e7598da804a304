"""The variances of policy-gradient estimators as bars."""

from __future__ import annotations

from pathlib import Path

from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style, write_title
from framework.variance import NONE, Comparison

ROOM = 1.15  # of the longest bar, for the number at its end


def draw_variances(comparison: Comparison, state: str, path: Path) -> Path:
    """Draw a bar for each estimator's variance, from 0, as a share of that without a baseline; return the file.

    Args:
        comparison: what is drawn; nothing, where there is no variance without a baseline.
        state: what was compared, in a few words.
        path: the PNG file; its folder is made.
    """
    shown = {one.name: 100 * one.ratio for one in comparison.estimators if one.ratio is not None}  # percent
    figure = new_figure(6.4, 1.4 + 0.4 * len(shown))
    axes = figure.subplots()
    style(axes)
    if shown:
        colors = [FAINT if name == NONE else PALETTE[0] for name in shown]
        bars = axes.barh(list(shown), list(shown.values()), color=colors, height=0.6)
        # A logarithmic axis would have no origin, and the bars no meaningful lengths.
        axes.bar_label(bars, [f"{share:,.3g} %" for share in shown.values()], padding=4, fontsize=8, color=INK)
        axes.set_xlim(0, ROOM * max(shown.values()))
    axes.invert_yaxis()
    axes.set_xlabel(
        f"variance, % of that without a baseline ({comparison.rollouts} estimates of {comparison.episodes} whole "
        "episodes)"
    )
    write_title(axes, "Variance of the policy gradient by baseline", state)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, path)
