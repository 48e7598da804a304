"""The examples that a learner reconstructs best, and those that it reconstructs worst.

Legend: N examples, E of each kind.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from framework.canvas import new_figure, write_title
from framework.tiles import FEWEST, TILE, aspect, draw_tiles, widen

MOST = 12  # of each kind


def best_and_worst(nats: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of the best examples, the best first, and of the worst, the worst first; at most 12 each.

    Args:
        nats: [N], −log p(x|z); what is not finite is left out.

    Returns:
        [E] and [E]; no example is in both, unless there is but one.
    """
    rows = nats.isfinite().nonzero().squeeze(-1)  # [≤ N]
    order = rows[nats[rows].argsort(stable=True)]
    count = min(MOST, max(len(order) // 2, min(len(order), 1)))
    return order[:count], order.flip(0)[:count]


def draw_best_and_worst(
    inputs: tuple[Tensor, Tensor],
    outputs: tuple[Tensor, Tensor],
    nats: tuple[Tensor, Tensor],
    span: tuple[float, float],
    *,
    examples: int,
    kind: str = "test",
) -> Figure:
    """Draw the best and the worst reconstructions, each below its input, with its nats.

    Args:
        inputs: of the best and of the worst, [E, *input_shape] each.
        outputs: their reconstructions.
        nats: [E] each, −log p(x|z).
        span: the values at black and white.
        examples: how many they were chosen from.
        kind: of examples, a word of the title.
    """
    columns = max(len(inputs[0]), FEWEST)
    height = 2 * TILE * aspect(inputs[0].shape[1:]) + 0.4
    figure = new_figure(TILE * columns + 1.8, 2 * height + 0.6)
    panels = figure.subplots(2, 1)
    for panel, end, above, below, numbers in zip(panels, ("best", "worst"), inputs, outputs, nats, strict=True):
        draw_tiles(panel, widen(torch.stack([above, below]), columns), columns, span)
        panel.set_yticks([0.5, 1.5], [f"{end} inputs", "reconstructions"])
        panel.set_xticks([column + 0.5 for column in range(len(numbers))], [_shown(each) for each in numbers.tolist()])
    of = f"of {examples:,} {kind} examples" if examples > 1 else f"of a single {kind} example"
    write_title(panels[0], "Best and worst reconstructions", f"{of}; below each, −log p(x|z) at its code, in nats")
    return figure


def _shown(nats: float) -> str:
    # Five digits are as wide as a tile.
    return (f"{nats:.1f}" if abs(nats) < 10_000 else f"{nats:,.0f}").replace("-", "−")
