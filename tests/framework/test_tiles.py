"""Many examples in one picture: each in its place, in its shades."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from torch import Tensor

from framework.canvas import new_figure
from framework.tiles import aspect, draw_tiles, is_image, mosaic, shrink, span_of, widen


@pytest.mark.parametrize("channels", [1, 3])
def test_mosaic_puts_each_example_in_its_place(channels: int) -> None:
    values = np.random.default_rng(0).random((5, channels, 2, 4))
    joined = mosaic(values, rows=2, columns=3)
    height, width = joined.shape[0] / 2, joined.shape[1] / 3
    assert joined.shape[2] == channels
    for index, channel, y, x in np.ndindex(values.shape):
        row, column = divmod(index, 3)
        middle = joined[int((row + (y + 0.5) / 2) * height), int((column + (x + 0.5) / 4) * width), channel]
        assert middle == values[index, channel, y, x]
    assert (joined[int(height) :, int(2 * width) :] == 1).all()  # the sixth place is empty, and white


@pytest.mark.parametrize(
    ("values", "span"),
    [
        ([-2.0, 0.5, 3.0], (-2.0, 3.0)),
        ([0.0, 0.5], (0.0, 1.0)),  # grey as it is, however dark
        ([4.0, 4.0], (4.0, 5.0)),
        ([math.nan, 2.0, 3.0, math.inf], (2.0, 3.0)),
        ([math.nan], (0.0, 1.0)),
    ],
)
def test_black_and_white_are_the_range_of_the_values(values: list[float], span: tuple[float, float]) -> None:
    assert span_of(torch.tensor(values)) == span


@pytest.mark.parametrize(
    ("shape", "drawn_as_image", "ratio"),
    [((1, 28, 28), True, 1), ((3, 8, 4), True, 2), ((1, 1, 40), True, 0.25), ((2, 4, 4), False, 0.75)],
)
def test_examples_of_one_channel_or_three_are_images(
    shape: tuple[int, ...], drawn_as_image: bool, ratio: float
) -> None:
    assert is_image(shape) == drawn_as_image
    assert aspect(shape) == ratio


def test_large_images_are_averaged_over_blocks_and_all_else_is_left() -> None:
    large = torch.arange(2 * 3 * 192 * 200, dtype=torch.float64).reshape(2, 3, 192, 200)
    assert shrink(large) is large  # not above twice a tile's pixels
    larger = torch.arange(2 * 3 * 288 * 300, dtype=torch.float64).reshape(2, 3, 288, 300)
    assert shrink(larger).shape == (2, 3, 96, 100)
    torch.testing.assert_close(shrink(larger)[1, 2, 5, 7], larger[1, 2, 15:18, 21:24].mean())  # float64 rounding
    vectors = torch.zeros(2, 1_000)
    assert shrink(vectors) is vectors


@pytest.mark.parametrize("columns", [2, 5])
def test_few_examples_in_a_row_have_blanks_behind_them(columns: int) -> None:
    examples = torch.arange(6.0).reshape(2, 3, 1)
    wide = widen(examples, columns).reshape(2, -1, 1)
    assert wide.shape[1] == max(3, columns)
    assert torch.equal(wide[:, :3], examples)
    assert wide[:, 3:].isnan().all()


def tiles_of(examples: Tensor, columns: int, span: tuple[float, float]) -> LineCollection:
    axes = new_figure(2, 2).subplots()
    draw_tiles(axes, examples, columns, span)
    (lines,) = axes.collections
    assert isinstance(lines, LineCollection)
    return lines


def test_vectors_are_lines_in_squares_of_side_1() -> None:
    lines = tiles_of(torch.tensor([[0.0, 4.0], [2.0, 8.0], [1.0, 1.0]]), 2, (0.0, 4.0))
    first, second, third = lines.get_segments()
    # a square's lower tenth and upper tenth are left free; y grows downwards, and 8 is cut to the span
    np.testing.assert_allclose(first, [[0.1, 0.9], [0.9, 0.1]], atol=1e-12)
    np.testing.assert_allclose(second, [[1.1, 0.5], [1.9, 0.1]], atol=1e-12)
    np.testing.assert_allclose(third, [[0.1, 1.7], [0.9, 1.7]], atol=1e-12)
