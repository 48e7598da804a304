"""The picture of samples: a grid, whose rows are named where a conditional model was told their labels.

Legend: S samples.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor

from framework.canvas import new_figure, write_title
from framework.tiles import TILE, aspect, draw_tiles

OF_THE_PRIOR = "means of p(x|z), with z drawn from the prior"


def draw_samples(
    samples: Tensor,
    columns: int,
    span: tuple[float, float],
    subtitle: str,
    *,
    labels: Tensor | None = None,
    width: float = TILE,
) -> Figure:
    """Draw samples row by row.

    Args:
        samples: [S, *input_shape].
        columns: samples in a row.
        span: the values at black and white.
        subtitle: what they are.
        labels: [S], that a conditional model was told, or None. Where they differ, each row has a name.
        width: of a sample, inches.
    """
    rows = -(-len(samples) // columns)
    names = [] if labels is None else _row_names(labels, columns)
    figure = new_figure(width * columns + (0.7 if names else 0.3), width * rows * aspect(samples.shape[1:]) + 0.8)
    axes = figure.subplots()
    draw_tiles(axes, samples, columns, span)
    if names:
        axes.set_yticks([row + 0.5 for row in range(rows)], names)
        axes.set_ylabel("label")
    write_title(axes, "Samples", subtitle)
    return figure


def _row_names(labels: Tensor, columns: int) -> list[str]:
    """Return each row's label, or the first and the last of them; nothing where all are the same."""
    if len(labels.unique()) == 1:
        return []
    ends = [(int(row.min()), int(row.max())) for row in labels.split(columns)]
    return [f"{first}" if first == last else f"{first}–{last}" for first, last in ends]
