"""Many examples in one picture: side by side, images as images and all else as lines.

Legend: B examples of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from framework.canvas import FAINT, PALETTE

Real = TypeVar("Real", bound=np.floating[Any])

TILE = 0.62  # inches, the width of one example in a picture of many
FEWEST = 8  # columns, for whose titles there is room
TILE_PIXELS = 96  # a smaller image is enlarged by a whole factor first, so that its pixels stay square and sharp


def is_image(shape: Sequence[int]) -> bool:
    """Return whether examples of this shape are drawn as images: one channel or three, channels first."""
    return len(shape) == 3 and shape[0] in (1, 3)


def aspect(shape: Sequence[int]) -> float:
    """Return height over width of one example in a picture: an image's own, unless it is a strip."""
    return min(4.0, max(0.25, shape[1] / shape[2])) if is_image(shape) else 0.75


def span_of(examples: Tensor) -> tuple[float, float]:
    """Return the values that are drawn as black and white.

    Args:
        examples: [B, *shape], of which those that are finite are looked at.

    Returns:
        0 and 1 where all values lie between them, otherwise the smallest and the largest.
    """
    low, high = math.inf, -math.inf
    for block in examples.split(500):  # a mask of all of them at once would take many times their memory
        finite = block.isfinite()
        low = min(low, block.where(finite, math.inf).amin().item())
        high = max(high, block.where(finite, -math.inf).amax().item())
    if low > high:  # nothing is finite
        return 0.0, 1.0
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1)


def shrink(examples: Tensor) -> Tensor:
    """Return examples [B, *shape] with large images made smaller: hundreds of them would fill the memory."""
    shape = examples.shape[1:]
    if is_image(shape) and min(shape[1:]) > 2 * TILE_PIXELS:
        return avg_pool2d(examples, min(shape[1:]) // TILE_PIXELS)
    return examples


def widen(examples: Tensor, columns: int) -> Tensor:
    """Return rows of examples with blanks behind them, where they are few: [R, C, *shape] → [R·columns, *shape].

    Args:
        examples: [R, C, *shape].
        columns: at least so many are in a row, C where that is more; a narrow picture has no room for its title.
    """
    rows, given, *shape = examples.shape
    blanks = examples.new_full((rows, max(0, columns - given), *shape), math.nan)
    return torch.cat([examples, blanks], dim=1).flatten(0, 1)


def draw_tiles(axes: Axes, examples: Tensor, columns: int, span: tuple[float, float]) -> None:
    """Draw examples side by side, row by row, each in a square of the axes of side 1; NaN is blank.

    Args:
        axes: what is drawn on.
        examples: [B, *shape]; images (1 or 3 channels first) as images, all else as lines over the flattened index.
        columns: examples in a row.
        span: the values at black and white, or at the bottom and top of a line's square.
    """
    shape = examples.shape[1:]
    rows = -(-len(examples) // columns)
    shown = shrink(examples).detach().double().cpu().numpy()
    values = np.clip((shown - span[0]) / (span[1] - span[0]), 0, 1)
    if is_image(shape):
        joined = mosaic(values.astype(np.float32), rows, columns)
        axes.imshow(joined, extent=(0, columns, rows, 0), cmap="gray", vmin=0, vmax=1)
    else:
        values = values.reshape(len(values), -1)
        index = np.arange(len(values))
        across = np.linspace(0.1, 0.9, values.shape[1]) + (index % columns)[:, None]  # [B, values]
        down = 0.9 - 0.8 * values + (index // columns)[:, None]
        axes.add_collection(LineCollection(list(np.stack([across, down], -1)), colors=PALETTE[0], linewidths=0.8))
    axes.set_aspect(aspect(shape))
    axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    axes.tick_params(length=0, labelsize=9, labelcolor=FAINT)
    axes.xaxis.label.set_color(FAINT)
    axes.yaxis.label.set_color(FAINT)
    axes.spines[:].set_visible(False)


def mosaic(values: NDArray[Real], rows: int, columns: int) -> NDArray[Real]:
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
