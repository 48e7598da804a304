"""The pictures of a latent learner that is judged: what its decoder has learned, and how good its codes are.

Legend: N examples, D latent, P pairs, E examples of a kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Distribution

from framework.best_and_worst import best_and_worst, draw_best_and_worst
from framework.canvas import save
from framework.coding import Coded, decode, encode, evaluating
from framework.discrete import is_discrete
from framework.interpolations import PAIRS, draw_lines, draw_surface, lines, surface
from framework.labels import one_of_each, spread
from framework.latent_plane import SIDE, WIDTH, draw_plane, draw_quantile_plane, quantiles, square
from framework.latent_scatter import draw_scatter
from framework.learners.latent import Latent
from framework.randomness import rekey
from framework.sample_grid import OF_THE_PRIOR, draw_samples
from framework.tiles import shrink, span_of
from framework.traversals import changes, draw_traversals, leading, traversals

POINTS = 5_000  # at most, in the scatter
BACKGROUND = 1_000  # samples of the prior behind them
REACH = 2.0  # the square of a two-dimensional interpolation is [−2, 2]²


@torch.no_grad()
def draw_evaluation(
    learner: Latent, examples: Tensor, labels: Tensor | None, folder: Path, *, kind: str = "test"
) -> list[Path]:
    """Draw what a latent learner makes of examples, the same at each call.

    - `samples.png`: 20 × 20 samples of the prior, decoded.
    - `manifold.png`, when D = 2: the plane at the standard normal's quantiles, decoded.
    - `interpolation_grid.png`: 20 × 20; when D = 2 the square [−2, 2]², otherwise the codes between those of four
      examples.
    - `interpolations.png`: straight lines between the codes of pairs of examples; see `framework.interpolations`.
    - `traversals.png`: an example's code while one latent is changed, for the latents that say most.
    - `best_worst.png`: the best and the worst reconstructions, with their nats.
    - `latents.png`: the posteriors' means, coloured by label.

    Nothing lies between discrete codes: those have neither plane nor interpolations, and their traversals go through
    the values of a bit or of a one-hot variable. A conditional learner is told the labels: its samples go through them
    row by row, the examples of a line or of a grid share one, and plane and traversals are of the first example's.

    Args:
        learner: on any device; it is left as it was.
        examples: [N, *input_shape], N at least 1, on the learner's device and of its type.
        labels: [N] int64, or None.
        folder: where the files go; it exists.
        kind: of examples, as the titles name it: "test", "validation", a file's name.

    Returns:
        The files written.
    """
    files = []
    with evaluating(learner):
        rekey(0, "evaluation figures", 0)
        labels = None if labels is None else labels.to(examples.device)
        told = labels if learner.takes_labels else None
        shown = _Shown(
            learner,
            examples,
            labels,
            told,
            encode(learner, examples, told),
            span_of(examples),
            kind.replace("$", r"\$"),
        )
        for index, (name, draw) in enumerate(_FIGURES.items(), 1):
            rekey(0, "evaluation figures", index)
            if (figure := draw(shown)) is not None:  # one at a time is in memory
                files.append(save(figure, folder / f"{name}.png"))
    return files


@dataclass(frozen=True)
class _Shown:
    """A learner, examples, and what it makes of them.

    Args:
        learner: in evaluation mode.
        examples: [N, *input_shape].
        labels: [N], or None.
        told: [N], the labels that a conditional learner is told, or None.
        coded: of the examples.
        span: the values at black and white.
        kind: of examples, a word of the titles.
    """

    learner: Latent
    examples: Tensor
    labels: Tensor | None
    told: Tensor | None
    coded: Coded
    span: tuple[float, float]
    kind: str

    @property
    def first_posterior(self) -> Distribution:
        """q(z|x) of the first example, batch shape [1]."""
        return self.learner.posterior(self.examples[:1], None if self.told is None else self.told[:1])

    @property
    def is_discrete(self) -> bool:
        return bool(is_discrete(self.first_posterior))

    def decode(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return means of p(x|z) for latents [R, ..., D], all in a row.

        Args:
            z: the latents.
            rows: [R], of the examples whose labels a conditional learner is told; None is the first one's for all.
        """
        labels = None
        if self.told is not None:
            labels = self.told[:1].expand(len(z)) if rows is None else self.told[rows]
            labels = labels.repeat_interleave(z[0, ..., 0].numel())
        return decode(self.learner, z.flatten(0, -2).to(self.coded.codes), labels)

    def inputs(self, rows: Tensor) -> Tensor:
        """Return examples as large as decoded ones."""
        return shrink(self.examples[rows])


def _samples(shown: _Shown) -> Figure:
    z = shown.learner.prior().sample(torch.Size([SIDE**2]))  # [400, D]
    labels = spread(shown.told, len(z))
    decoded = decode(shown.learner, z, labels)
    return draw_samples(decoded, SIDE, shown.span, OF_THE_PRIOR, labels=labels, width=WIDTH)


def _manifold(shown: _Shown) -> Figure | None:
    if shown.learner.latent_dim != 2 or shown.is_discrete:
        return None
    return draw_quantile_plane(shown.decode(square(quantiles())), shown.span)


def _interpolation_grid(shown: _Shown) -> Figure | None:
    if shown.is_discrete:
        return None
    if shown.learner.latent_dim == 2:
        coordinates = torch.linspace(-REACH, REACH, SIDE, dtype=torch.float64)
        title = {"title": "Interpolation", "subtitle": f"means of p(x|z) on the square [−{REACH:g}, {REACH:g}]²"}
        return draw_plane(shown.decode(square(coordinates)), coordinates, shown.span, **title)
    corners = shown.coded.codes[_corners(shown)]  # [4, D]
    return draw_surface(shown.decode(surface(corners)), shown.span, kind=shown.kind)


def _corners(shown: _Shown) -> Tensor:
    """Return the rows of four examples, [4]; few examples are repeated.

    Of different labels where there are so many, and all of one where a conditional learner is told it.
    """
    if shown.told is not None:
        rows = (shown.told == shown.told[0]).nonzero().squeeze(-1)[:4].tolist()
    else:
        of_labels = [] if shown.labels is None else sorted(one_of_each(shown.labels).tolist())
        rows = list(dict.fromkeys([*of_labels, *range(min(4, len(shown.examples)))]))
    return torch.tensor((rows * 4)[:4])


def _interpolations(shown: _Shown) -> Figure | None:
    first, second = _pairs(shown)  # [P] each
    if len(first) == 0 or shown.is_discrete:
        return None
    codes = shown.coded.codes
    decoded = shown.decode(lines(codes[first], codes[second]), first)
    return draw_lines((shown.inputs(first), shown.inputs(second)), decoded, shown.span, kind=shown.kind)


def _pairs(shown: _Shown) -> Tensor:
    """Return the rows of pairs of examples, [2, P]: neighbours, of one label where a conditional learner is told it."""
    if shown.told is None:
        pairs = min(PAIRS, len(shown.examples) // 2)
        return torch.arange(2 * pairs).view(pairs, 2).T
    alike = [(shown.told == label).nonzero().squeeze(-1)[:2] for label in shown.told.unique()]
    found = [rows for rows in alike if len(rows) == 2][:PAIRS]
    return torch.stack(found, dim=1) if found else torch.empty(2, 0, dtype=torch.int64)


def _traversals(shown: _Shown) -> Figure | None:
    to = changes(shown.first_posterior)
    if to is None:
        return None
    latents = leading(shown.coded, to.width)
    codes = traversals(shown.coded.codes[0], [latent for latent, *_ in latents], to)  # [R, C, D]
    return draw_traversals(shown.decode(codes), latents, to, shown.span, kind=shown.kind)


def _best_worst(shown: _Shown) -> Figure | None:
    codes, nats = shown.coded.codes, shown.coded.nats
    best, worst = best_and_worst(nats)  # [E] each
    if len(best) == 0:
        return None
    return draw_best_and_worst(
        inputs=(shown.inputs(best), shown.inputs(worst)),
        outputs=(shown.decode(codes[best], best), shown.decode(codes[worst], worst)),
        nats=(nats[best], nats[worst]),
        span=shown.span,
        examples=len(nats),
        kind=shown.kind,
    )


def _latents(shown: _Shown) -> Figure | None:
    means = shown.coded.means[:POINTS]
    finite = means.isfinite().all(1)  # the rest has no place in the picture
    if not finite.any():
        return None
    prior = shown.learner.prior().sample(torch.Size([BACKGROUND]))
    labels = None if shown.labels is None else shown.labels[:POINTS][finite].cpu().numpy()
    return draw_scatter(means[finite].double().cpu().numpy(), prior.double().cpu().numpy(), labels, kind=shown.kind)


_FIGURES: dict[str, Callable[[_Shown], Figure | None]] = {
    "samples": _samples,
    "manifold": _manifold,
    "interpolation_grid": _interpolation_grid,
    "interpolations": _interpolations,
    "traversals": _traversals,
    "best_worst": _best_worst,
    "latents": _latents,
}
