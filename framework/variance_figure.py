"""The variances of policy-gradient estimators as bars."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter

from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style, write_title
from framework.variance import NONE, Comparison


def draw_variances(comparison: Comparison, state: str, path: Path) -> Path:
    """Draw a bar for each estimator's variance, on a logarithmic scale; return the file.

    Args:
        comparison: what is drawn; a variance of 0 has no bar.
        state: what was compared, in a few words.
        path: the PNG file; its folder is made.
    """
    shown = [one for one in comparison.estimators if one.variance > 0]
    figure = new_figure(6.4, 1.4 + 0.4 * len(shown))
    axes = figure.subplots()
    style(axes)
    if shown:
        colors = [FAINT if one.name == NONE else PALETTE[0] for one in shown]
        bars = axes.barh([one.name for one in shown], [one.variance for one in shown], color=colors, height=0.6)
        shares = ["" if one.ratio is None else f" {100 * one.ratio:.3g} %" for one in shown]
        axes.bar_label(bars, shares, padding=2, fontsize=8, color=INK)
        axes.set_xscale("log")
        lowest, highest = min(one.variance for one in shown), max(one.variance for one in shown)
        axes.set_xlim(lowest / 10, highest * 3)
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", color=FAINT, width=0.5, length=2)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"trace of the covariance of one estimate, of {comparison.episodes} whole episodes; "
        f"{comparison.rollouts} rollouts"
    )
    write_title(axes, "Variance of the policy gradient by baseline", state)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, path)
