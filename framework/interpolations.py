"""Between the codes of examples: lines between two, and the surface between four.

Lines are straight. Spherical ones keep the length of a code, and suit codes that all lie near one sphere, as samples of
a standard normal do in many dimensions. Posterior means do not: those of latents that say nothing are all 0, and codes
under other priors, or under none, lie anywhere.

Legend: D latent, C steps, P pairs.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from framework.canvas import new_figure, write_title
from framework.latent_plane import WIDTH
from framework.tiles import TILE, aspect, draw_tiles

PAIRS = 8  # of examples
STEPS = 11  # codes on a line, its ends included
SIDE = 20  # rows and columns of the surface


def lines(first: Tensor, second: Tensor, steps: int = STEPS) -> Tensor:
    """Return codes at equal distances on straight lines, (1 − t)·a + t·b for t from 0 to 1, [P, C, D].

    Args:
        first: a, [P, D].
        second: b, [P, D].
        steps: C, at least 2.
    """
    t = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device).unsqueeze(-1)  # [C, 1]
    return (1 - t) * first.unsqueeze(-2) + t * second.unsqueeze(-2)


def surface(corners: Tensor, side: int = SIDE) -> Tensor:
    """Return the codes of a square grid between four corners, [side, side, D]: bilinear, by row from the upper left.

        (1 − s)(1 − t)·a + (1 − s)t·b + s(1 − t)·c + st·d

    Args:
        corners: upper left a, upper right b, lower left c, lower right d, [4, D].
        side: rows and columns, at least 2.
    """
    edges = lines(corners[:2], corners[2:], side)  # [2, side, D], the left one and the right one, downwards
    return lines(edges[0], edges[1], side)


def draw_lines(
    inputs: tuple[Tensor, Tensor], decoded: Tensor, span: tuple[float, float], *, kind: str = "test"
) -> Figure:
    """Draw what `lines` are decoded to, between the examples that they connect.

    Args:
        inputs: the examples of the first and of the second ends, [P, *shape] each.
        decoded: [P·C, *shape], line by line; of the inputs' shape.
        span: the values at black and white.
        kind: of examples, a word of the title.
    """
    first, second = (ends.unsqueeze(1) for ends in inputs)  # [P, 1, *shape]
    middle = decoded.unflatten(0, (len(first), -1))  # [P, C, *shape]
    columns = middle.shape[1] + 2
    figure = new_figure(TILE * columns + 0.3, TILE * aspect(decoded.shape[1:]) * len(first) + 0.9)
    axes = figure.subplots()
    draw_tiles(axes, torch.cat([first, middle, second], dim=1).flatten(0, 1), columns, span)
    places = (0.5, 1.5, columns / 2, columns - 1.5, columns - 0.5)
    axes.set_xticks(places, ["input", "t = 0", "½", "1", "input"])
    subtitle = f"means of p(x|z) on straight lines between the codes of two {kind} examples"
    write_title(axes, "Interpolations", subtitle)
    return figure


def draw_surface(decoded: Tensor, span: tuple[float, float], *, kind: str = "test") -> Figure:
    """Draw what a `surface` is decoded to.

    Args:
        decoded: [side², *shape], row by row.
        span: the values at black and white.
        kind: of examples, a word of the title.
    """
    side = round(len(decoded) ** 0.5)
    figure = new_figure(WIDTH * side + 0.3, WIDTH * side * aspect(decoded.shape[1:]) + 0.8)
    axes = figure.subplots()
    draw_tiles(axes, decoded, side, span)
    subtitle = f"means of p(x|z) between the codes of four {kind} examples, at the corners"
    write_title(axes, "Interpolation", subtitle)
    return figure
