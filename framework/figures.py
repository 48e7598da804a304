"""The pictures of a run: what a learner has learned, as PNG files.

Legend: N test examples in the scatter, D latent, B examples of a picture.
"""

from __future__ import annotations

import math
from functools import singledispatch
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from framework.canvas import new_figure, save, write_title
from framework.coding import BATCH, decode, evaluating
from framework.data import Split
from framework.discrete import is_discrete
from framework.examples import Examples
from framework.experience import Experience
from framework.labels import spread
from framework.latent_plane import draw_quantile_plane, quantiles, square
from framework.latent_scatter import draw_scatter
from framework.learner import Learner
from framework.learners.latent import Latent
from framework.randomness import Keys, rekey
from framework.sample_grid import OF_THE_PRIOR, draw_samples
from framework.tiles import TILE, aspect, draw_tiles, span_of

EXAMPLES = 5_000  # test examples in the scatter
PAIRS = (3, 12)  # rows and columns of reconstructions
SAMPLES = 10  # rows and columns of samples


@singledispatch
def draw(learner: Learner, experience: Experience, folder: Path) -> list[Path]:
    """Draw what a learner has learned, the same at each call. `draw.register` teaches it another kind of learner.

    A latent learner: `reconstructions.png`, `prior_samples.png`, `latent_scatter.png` and, when D = 2, `manifold.png`.
    Learners that act: see `framework.agent_figures`. A kind without pictures: nothing.

    Args:
        learner: on any device; it is left as it was.
        experience: what it has learned from; of a data set the test set is shown.
        folder: where the files go; it exists.

    Returns:
        The files written.
    """
    return []


@draw.register
@torch.no_grad()
def draw_latent(learner: Latent, experience: Examples, folder: Path) -> list[Path]:
    """Draw a latent learner; see `draw`."""
    test = experience.dataset.test
    with evaluating(learner):
        rekey(0, "figures", 0)
        labels = None if test.labels is None else test.labels[:EXAMPLES].to(next(learner.parameters()).device)  # [N]
        told = labels if learner.takes_labels else None  # [N]
        inputs, means = _encode_test_set(learner, test, told)  # [B, *input_shape], [N, D]
        rekey(0, "figures", 1)
        z = learner.prior().sample(torch.Size((1_000,)))  # [1000, D]
        first = None if told is None else told[: len(inputs)]  # [B]
        reconstructions = learner.reconstruct(inputs, first)  # [B, *input_shape]
        labels_of_samples = spread(told, SAMPLES**2)  # [100]
        samples = decode(learner, z[: SAMPLES**2], labels_of_samples)  # [100, *input_shape]
        plane = None
        if learner.latent_dim == 2 and not is_discrete(learner.posterior(inputs, first)):
            points = square(quantiles()).to(z)  # [400, 2]
            one = None if told is None else told[:1].expand(len(points))  # [400]
            plane = decode(learner, points, one)  # [400, *input_shape]
    span = span_of(inputs)
    figures = {
        "reconstructions": _reconstructions(inputs, reconstructions, span),
        "prior_samples": draw_samples(samples, SAMPLES, span, OF_THE_PRIOR, labels=labels_of_samples),
    }
    finite = means.isfinite().all(1)  # [N]; the rest has no place in the picture
    if finite.any():
        classes = None if labels is None else labels[finite].cpu().numpy()
        figures["latent_scatter"] = draw_scatter(_array(means[finite]), _array(z), classes)
    if plane is not None:
        figures["manifold"] = draw_quantile_plane(plane, span)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def _encode_test_set(learner: Latent, test: Split, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the examples to be reconstructed and the posterior means of all examples."""
    parameter = next(learner.parameters())
    means: list[Tensor] = []
    first: list[Tensor] = []
    for start in range(0, min(EXAMPLES, len(test)), BATCH):
        rows = slice(start, min(start + BATCH, EXAMPLES))
        x = test.examples(rows, Keys(0, "figures", start // BATCH)).to(parameter)
        means.append(learner.posterior(x, None if labels is None else labels[rows]).mean)
        first = first or [x[: math.prod(PAIRS)].clone()]
    return first[0], torch.cat(means)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _reconstructions(inputs: Tensor, outputs: Tensor, span: tuple[float, float]) -> Figure:
    columns = PAIRS[1]
    pairs = -(-len(inputs) // columns)
    figure = new_figure(TILE * columns + 1.0, pairs * (2 * TILE * aspect(inputs.shape[1:]) + 0.15) + 0.5)
    panels = figure.subplots(pairs, 1, squeeze=False)[:, 0]
    for index, panel in enumerate(panels):
        rows = slice(index * columns, (index + 1) * columns)
        above, below = inputs[rows], outputs[rows]
        blanks = above.new_full((columns - len(above), *above.shape[1:]), math.nan)
        draw_tiles(panel, torch.cat([above, blanks, below, blanks]), columns, span)
        panel.set_yticks([0.5, 1.5], ["input", "reconstruction"])
    write_title(panels[0], "Reconstructions", "test examples above, the mean of p(x|z) at the posterior's mean below")
    return figure
