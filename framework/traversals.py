"""What each latent does: an example's code, decoded while one latent alone is changed.

Legend: N examples, D latent, F latents that can be changed, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Distribution

from framework.canvas import new_figure, write_title
from framework.coding import Coded
from framework.discrete import OneHotLogits, is_discrete
from framework.distributions import BernoulliLogits
from framework.tiles import FEWEST, TILE, aspect, draw_tiles, widen

MOST = 10  # latents in the picture
REACH = 3  # a coordinate goes from −3 to 3: the standard normal holds 99.7 % between them
STEPS = 5  # to each side
_CATEGORIES = 20  # of a one-hot variable, that are shown
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Changes:
    """What one latent is changed to.

    Args:
        width: numbers of a code that make up the latent: 1 of a coordinate or a bit, the categories of a one-hot one.
        values: [C, width], what they become, one column of the picture each.
        names: of the columns.
        subtitle: what is changed, in words.
    """

    width: int
    values: Tensor
    names: Sequence[str]
    subtitle: str


@singledispatch
def changes(q: Distribution) -> Changes | None:
    """Return what the latents of a posterior can be changed to, or None where that is not known.

    Coordinates go from −3 to 3, bits are 0 and 1, and a one-hot variable takes its categories in turn.
    `changes.register` adds a discrete distribution.
    """
    if is_discrete(q):
        return None
    steps = REACH * torch.arange(-STEPS, STEPS + 1) / STEPS  # [C], whose middle is 0 exactly
    names = [f"{step:.1f}".replace("-", "−") for step in steps.tolist()]
    subtitle = f"one coordinate from −{REACH} to {REACH}"
    return Changes(1, steps.unsqueeze(-1), names, subtitle)


@changes.register
def _of_bits(q: BernoulliLogits) -> Changes | None:
    subtitle = "one bit 0 and 1"
    return Changes(1, torch.tensor([[0.0], [1.0]]), ["0", "1"], subtitle)


@changes.register
def _of_one_hot(q: OneHotLogits) -> Changes | None:
    categories = q.logits.shape[-1]
    subtitle = "one variable in each of its categories"
    values = torch.eye(categories)[:_CATEGORIES]  # [C, categories]
    return Changes(categories, values, [str(category) for category in range(len(values))], subtitle)


def leading(coded: Coded, width: int) -> list[tuple[int, float, str]]:
    """Return the latents that say most, at most 10: of largest KL or, where that is not known, of largest variance.

    Args:
        coded: what a learner makes of examples, N at least 1.
        width: numbers of a code that make up one latent.

    Returns:
        The index of each latent from 0, its KL in nats or the variance of its posterior mean over the examples, and the
        word for that; the largest first.
    """
    word = "variance" if coded.kl is None else "KL"
    spread = coded.means.double().var(0, correction=0).unflatten(0, (-1, width)).sum(-1)  # [F]
    relevance = (spread if coded.kl is None else coded.kl).cpu()  # [F]
    order = relevance.argsort(descending=True, stable=True)[:MOST].tolist()
    return [(latent, relevance[latent].item(), word) for latent in order]


def traversals(code: Tensor, latents: Sequence[int], to: Changes) -> Tensor:
    """Return codes that differ from one in a single latent, [R, C, D], a row a latent.

    Args:
        code: [D].
        latents: R indices from 0.
        to: what each is changed to.
    """
    rows = code.expand(len(latents), len(to.values), -1).clone()  # [R, C, D]
    for row, latent in zip(rows, latents, strict=True):
        row[:, latent * to.width : (latent + 1) * to.width] = to.values.to(code)
    return rows


def draw_traversals(
    decoded: Tensor,
    latents: Sequence[tuple[int, float, str]],
    to: Changes,
    span: tuple[float, float],
    *,
    kind: str = "test",
) -> Figure:
    """Draw what `traversals` are decoded to.

    Args:
        decoded: [R·C, *input_shape], row by row.
        latents: those of the rows, as of `leading`.
        to: what they are changed to.
        span: the values at black and white.
        kind: of the example, a word of the title.
    """
    columns = max(len(to.names), FEWEST)
    figure = new_figure(TILE * columns + 1.3, TILE * aspect(decoded.shape[1:]) * len(latents) + 0.9)
    axes = figure.subplots()
    draw_tiles(axes, widen(decoded.unflatten(0, (len(latents), -1)), columns), columns, span)
    axes.set_xticks([column + 0.5 for column in range(len(to.names))], to.names)
    names = [f"z{str(latent + 1).translate(_LOWERED)}  {word} {value:.2f}" for latent, value, word in latents]
    axes.set_yticks([row + 0.5 for row in range(len(latents))], names)
    write_title(axes, "Traversals", f"means of p(x|z) around a {kind} example's code, {to.subtitle}")
    return figure
