"""The latent plane, decoded: what the decoder makes of each point of a square when D = 2.

Legend: S points on a side, D latent.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from framework.canvas import new_figure, write_title
from framework.tiles import aspect, draw_tiles

SIDE = 20  # rows and columns
WIDTH = 0.42  # inches, of one example
_TICKS = (0, 4, 8, 11, 15, 19)  # points that are named on the axes


def quantiles() -> Tensor:
    """Return the standard normal's quantiles at (i + ½)/20 for i = 0 … 19, [S] float64, ascending.

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, figure 4, https://arxiv.org/abs/1312.6114.
    """
    probabilities = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE  # [S]
    found: Tensor = torch.special.ndtri(probabilities)
    return found


def square(coordinates: Tensor) -> Tensor:
    """Return the points of the latent plane with these coordinates [S] on each axis, [S², 2].

    Row by row from the upper left: z₁ grows to the right and z₂ upwards.
    """
    vertical, horizontal = torch.meshgrid(coordinates.flip(0), coordinates, indexing="ij")
    return torch.stack([horizontal, vertical], dim=-1).reshape(-1, 2)


def draw_plane(decoded: Tensor, coordinates: Tensor, span: tuple[float, float], *, title: str, subtitle: str) -> Figure:
    """Draw what the points of `square(coordinates)` are decoded to.

    Args:
        decoded: [S², *input_shape].
        coordinates: [S], ascending; named on both axes.
        span: the values at black and white.
        title: of the figure.
        subtitle: what is seen.
    """
    side = WIDTH * SIDE
    figure = new_figure(side + 0.6, side * aspect(decoded.shape[1:]) + 1.0)
    axes = figure.subplots()
    draw_tiles(axes, decoded, SIDE, span)
    names = [f"{coordinates[tick]:.1f}".replace("-", "−") for tick in _TICKS]
    axes.set_xticks([tick + 0.5 for tick in _TICKS], names)
    axes.set_yticks([SIDE - tick - 0.5 for tick in _TICKS], names)
    axes.set(xlabel="z₁", ylabel="z₂")
    write_title(axes, title, subtitle)
    return figure


def draw_quantile_plane(decoded: Tensor, span: tuple[float, float]) -> Figure:
    """Draw what `square(quantiles())` is decoded to, [S², *input_shape]."""
    ends = f"{0.5 / SIDE:.1%} to {1 - 0.5 / SIDE:.1%}"
    subtitle = f"means of p(x|z) at the standard normal's quantiles, {ends}"
    return draw_plane(decoded, quantiles(), span, title="The latent plane, decoded", subtitle=subtitle)
