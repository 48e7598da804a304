"""The pictures of a run: what a learner has learned, as PNG files.

Legend: N test examples in the scatter, D latent, B examples of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style, write_title
from framework.data import Dataset
from framework.examples import Examples
from framework.experience import Experience
from framework.learner import Learner
from framework.learners.latent import Latent
from framework.randomness import Keys, rekey

EXAMPLES = 5_000  # test examples in the scatter
BATCH = 500  # examples through a network at a time
PAIRS = (3, 12)  # rows and columns of reconstructions
SAMPLES = 10  # rows and columns of samples
PLANE = 20  # rows and columns of the latent plane

TILE = 0.62  # inches, the width of one example in a picture of many
TILE_PIXELS = 96  # a smaller image is enlarged by a whole factor first, so that its pixels stay square and sharp
PRIOR = "#d5d8dd"  # the colour of samples of the prior


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
    dataset = experience.dataset
    with _evaluating(learner):
        rekey(0, "figures", 0)
        inputs, means = _encode_test_set(learner, dataset)  # [B, *input_shape], [N, D]
        rekey(0, "figures", 1)
        z = learner.prior().sample(torch.Size((1_000,)))  # [1000, D]
        reconstructions = learner.reconstruct(inputs)  # [B, *input_shape]
        samples = learner.generate(z[: SAMPLES**2])  # [100, *input_shape]
        plane = learner.generate(_quantiles().to(z)) if learner.latent_dim == 2 else None  # [400, *input_shape]
    span = _span(dataset, inputs)
    figures = {
        "reconstructions": _reconstructions(inputs, reconstructions, span),
        "prior_samples": _samples(samples, span),
    }
    finite = means.isfinite().all(1).cpu()  # [N]; the rest has no place in the picture
    if finite.any():
        labels = None if dataset.test.labels is None else dataset.test.labels[: len(means)].cpu()[finite].numpy()
        figures["latent_scatter"] = _latent_space(_array(means)[finite.numpy()], _array(z), labels)
    if plane is not None:
        figures["manifold"] = _manifold(plane, span)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


@contextmanager
def _evaluating(learner: nn.Module) -> Iterator[None]:
    """Put all modules in evaluation mode, and afterwards each back in its own."""
    training = [module for module in learner.modules() if module.training]
    learner.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _encode_test_set(learner: Latent, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return the examples to be reconstructed and the posterior means of all examples."""
    parameter = next(learner.parameters())
    means: list[Tensor] = []
    first: list[Tensor] = []
    for start in range(0, min(EXAMPLES, len(dataset.test)), BATCH):
        rows = slice(start, min(start + BATCH, EXAMPLES))
        x = dataset.test.examples(rows, Keys(0, "figures", start // BATCH)).to(parameter)
        means.append(learner.encoder(x).mean)
        first = first or [x[: math.prod(PAIRS)].clone()]
    return first[0], torch.cat(means)


def _quantiles() -> Tensor:
    """Return the points of the latent plane, [400, 2], row by row from the upper left."""
    z = torch.special.ndtri((torch.arange(PLANE, dtype=torch.float64) + 0.5) / PLANE)
    vertical, horizontal = torch.meshgrid(z.flip(0), z, indexing="ij")
    return torch.stack([horizontal, vertical], dim=-1).reshape(-1, 2)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _span(dataset: Dataset, inputs: Tensor) -> tuple[float, float]:
    """Return the values that are drawn as black and white."""
    if dataset.facts.values != "real":
        return 0.0, 1.0
    low, high = inputs.min().item(), inputs.max().item()
    return (low, high) if high > low else (low, low + 1)


def _reconstructions(inputs: Tensor, outputs: Tensor, span: tuple[float, float]) -> Figure:
    columns = PAIRS[1]
    pairs = -(-len(inputs) // columns)
    figure = new_figure(TILE * columns + 1.0, pairs * (2 * TILE * _aspect(inputs.shape[1:]) + 0.15) + 0.5)
    panels = figure.subplots(pairs, 1, squeeze=False)[:, 0]
    for index, panel in enumerate(panels):
        rows = slice(index * columns, (index + 1) * columns)
        above, below = inputs[rows], outputs[rows]
        blanks = above.new_full((columns - len(above), *above.shape[1:]), math.nan)
        _tiles(panel, torch.cat([above, blanks, below, blanks]), columns, span)
        panel.set_yticks([0.5, 1.5], ["input", "reconstruction"])
    write_title(panels[0], "Reconstructions", "test examples above, the mean of p(x|z) at the posterior's mean below")
    return figure


def _samples(samples: Tensor, span: tuple[float, float]) -> Figure:
    figure = new_figure(TILE * SAMPLES + 0.3, TILE * SAMPLES * _aspect(samples.shape[1:]) + 0.6)
    axes = figure.subplots()
    _tiles(axes, samples, SAMPLES, span)
    write_title(axes, "Prior samples", "means of p(x|z), with z drawn from the prior")
    return figure


def _manifold(plane: Tensor, span: tuple[float, float]) -> Figure:
    side = 0.42 * PLANE
    figure = new_figure(side + 0.6, side * _aspect(plane.shape[1:]) + 1.0)
    axes = figure.subplots()
    _tiles(axes, plane, PLANE, span)
    z = _quantiles()[:PLANE, 0].tolist()
    ticks = [0, 4, 8, 11, 15, 19]
    names = [f"{z[tick]:.1f}".replace("-", "−") for tick in ticks]
    axes.set_xticks([tick + 0.5 for tick in ticks], names)
    axes.set_yticks([PLANE - tick - 0.5 for tick in ticks], names)
    axes.set(xlabel="z₁", ylabel="z₂")
    ends = f"{0.5 / PLANE:.1%} to {1 - 0.5 / PLANE:.1%}"
    write_title(axes, "The latent plane, decoded", f"means of p(x|z) at the standard normal's quantiles, {ends}")
    return figure


def _latent_space(means: NDArray[np.float64], prior: NDArray[np.float64], labels: NDArray[np.int64] | None) -> Figure:
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
    write_title(axes, "Latent space", f"posterior means of {len(means):,} test examples over samples of the prior")
    return figure


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
    points, background, names = _flat(means, prior)
    axes.scatter(background[:, 0], background[:, 1], s=4, color=PRIOR, linewidths=0)
    drawn = axes.scatter(points[:, 0], points[:, 1], s=9, c=shade, alpha=0.8, linewidths=0)
    drawn.set_cmap("viridis")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel=names[0], ylabel=names[1])
    return points, drawn


def _flat(
    means: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return the means and the prior's samples in two dimensions, [N, 2] and [1000, 2], and the names of the axes."""
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


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3)


def _aspect(shape: Sequence[int]) -> float:
    """Return height over width of one example in a picture: an image's own, unless it is a strip."""
    return min(4.0, max(0.25, shape[1] / shape[2])) if _is_image(shape) else 0.75


def _tiles(axes: Axes, examples: Tensor, columns: int, span: tuple[float, float]) -> None:
    """Draw examples side by side, row by row, each in a square of the axes of side 1; NaN is blank.

    Args:
        axes: what is drawn on.
        examples: [B, *shape]; images (1 or 3 channels first) as images, all else as lines over the flattened index.
        columns: examples in a row.
        span: the values at black and white, or at the bottom and top of a line's square.
    """
    shape = examples.shape[1:]
    rows = -(-len(examples) // columns)
    if _is_image(shape) and min(shape[1:]) > 2 * TILE_PIXELS:  # hundreds of large images would fill the memory
        examples = avg_pool2d(examples, min(shape[1:]) // TILE_PIXELS)
    values = np.clip((_array(examples) - span[0]) / (span[1] - span[0]), 0, 1)
    if _is_image(shape):
        extent = (0, columns, rows, 0)
        axes.imshow(_mosaic(values, rows, columns), extent=extent, cmap="gray", vmin=0, vmax=1)
    else:
        values = values.reshape(len(values), -1)
        index = np.arange(len(values))
        across = np.linspace(0.1, 0.9, values.shape[1]) + (index % columns)[:, None]  # [B, values]
        down = 0.9 - 0.8 * values + (index // columns)[:, None]
        axes.add_collection(LineCollection(list(np.stack([across, down], -1)), colors=PALETTE[0], linewidths=0.8))
    axes.set_aspect(_aspect(shape))
    axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    axes.tick_params(length=0, labelsize=9, labelcolor=FAINT)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    axes.spines[:].set_visible(False)


def _mosaic(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Join images [B, channels, height, width] in [0, 1] into one [height, width, channels], with white seams."""
    factor = -(-TILE_PIXELS // max(values.shape[2:]))
    images = np.nan_to_num(values, nan=1.0).repeat(factor, axis=2).repeat(factor, axis=3)
    seam = max(1, round(0.03 * max(images.shape[2:])))
    images = np.pad(
        images, [(0, rows * columns - len(images)), (0, 0), (seam, seam), (seam, seam)], constant_values=1.0
    )
    channels, height, width = images.shape[1:]
    grid = images.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, channels)
