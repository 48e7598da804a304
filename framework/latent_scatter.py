"""Where the codes of examples lie among samples of the prior, coloured by label.

Legend: N examples, S samples of the prior, D latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from framework.canvas import INK, PALETTE, new_figure, style, write_title

PRIOR = "#d5d8dd"  # the colour of samples of the prior


def draw_scatter(
    means: NDArray[np.float64], prior: NDArray[np.float64], labels: NDArray[np.int64] | None, *, kind: str = "test"
) -> Figure:
    """Draw codes over samples of the prior: D = 1 as histograms, D = 2 as they are, D > 2 by `project`.

    Args:
        means: [N, D], finite; the posteriors' means.
        prior: [S, D].
        labels: [N], or None.
        kind: of examples, a word of the title.
    """
    figure = new_figure(6.6, 5.4)
    axes = figure.subplots()
    style(axes)
    classes = np.zeros(0, np.int64) if labels is None else labels
    names = np.unique(classes).tolist()
    colours = dict(zip(names, PALETTE, strict=False)) if len(names) <= len(PALETTE) else {}
    keys = {str(name): colour for name, colour in colours.items()}
    if means.shape[1] == 1:
        _histogram(axes, means, prior, {colour: classes == name for name, colour in colours.items()})
        keys["prior"] = INK
    else:
        shade = [colours[name] for name in classes.tolist()] if colours else classes if len(classes) else PALETTE[0]
        points, drawn = _cloud(axes, means, prior, shade)
        for name in colours:
            x, y = np.median(points[classes == name], axis=0)
            halo = [withStroke(linewidth=3, foreground="white")]
            axes.text(x, y, str(name), weight="bold", color=INK, ha="center", va="center", path_effects=halo)
        if len(classes) and not colours:
            figure.colorbar(drawn, label="label", shrink=0.6).outline.set_visible(False)
        keys["prior"] = PRIOR
    handles = [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour) for colour in keys.values()]
    figure.legend(handles, list(keys), loc="outside right center", frameon=False, fontsize=9)
    subtitle = f"posterior means of {len(means):,} {kind} examples over samples of the prior"
    write_title(axes, "Latent space", subtitle)
    return figure


def project(
    means: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return means and samples of the prior in two dimensions, the means' first two principal components if D > 2.

    Args:
        means: [N, D], D at least 2.
        prior: [S, D].

    Returns:
        [N, 2], [S, 2], and the names of the axes.
    """
    if means.shape[1] == 2:
        return means, prior, ["z₁", "z₂"]
    centred = means - means.mean(0)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending; directions in columns
    leading = directions[:, :-3:-1]  # [D, 2]
    # The sign of a direction is arbitrary: its largest entry is made positive, so that pictures can be compared.
    leading = leading * np.sign(leading[np.abs(leading).argmax(0), [0, 1]])
    shares = variances[:-3:-1] / max(variances.sum(), np.finfo(float).tiny)
    names = [f"principal component {index + 1} ({share:.0%} of the variance)" for index, share in enumerate(shares)]
    return centred @ leading, (prior - means.mean(0)) @ leading, names


def _histogram(
    axes: Axes, means: NDArray[np.float64], prior: NDArray[np.float64], groups: Mapping[str, NDArray[np.bool_]]
) -> None:
    edges = np.histogram_bin_edges(np.concatenate([means, prior]), bins=60).tolist()
    stack = [means[chosen, 0] for chosen in groups.values()] or [means[:, 0]]
    axes.hist(stack, edges, density=True, stacked=True, color=list(groups) or [PALETTE[0]])
    axes.hist(prior[:, 0], edges, density=True, histtype="step", color=INK, linewidth=1.2)
    axes.set(xlabel="z", ylabel="density")


def _cloud(
    axes: Axes, means: NDArray[np.float64], prior: NDArray[np.float64], shade: Any
) -> tuple[NDArray[np.float64], PathCollection]:
    points, background, names = project(means, prior)
    axes.scatter(background[:, 0], background[:, 1], s=4, color=PRIOR, linewidths=0)
    drawn = axes.scatter(points[:, 0], points[:, 1], s=9, c=shade, alpha=0.8, linewidths=0)
    drawn.set_cmap("viridis")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel=names[0], ylabel=names[1])
    return points, drawn
