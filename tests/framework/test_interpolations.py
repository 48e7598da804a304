"""Lines and surfaces between codes."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator

from framework.interpolations import draw_lines, draw_surface, lines, surface


def test_lines_are_straight_and_end_in_the_codes() -> None:
    first, second = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = lines(first, second, 7)
    assert between.shape == (3, 7, 5)
    expected = np.linspace(first.numpy(), second.numpy(), 7, axis=1)
    np.testing.assert_allclose(between, expected, rtol=1e-12)  # numpy's own; float64 rounding


def test_surface_is_bilinear_between_its_corners() -> None:
    corners = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = surface(corners, 20)
    assert grid.shape == (20, 20, 3)
    for place, corner in zip([(0, 0), (0, 19), (19, 0), (19, 19)], corners, strict=True):
        torch.testing.assert_close(grid[place], corner, rtol=1e-12, atol=1e-12)
    oracle = RegularGridInterpolator(([0, 1], [0, 1]), corners.reshape(2, 2, 3).numpy())  # scipy's bilinear one
    down, across = np.meshgrid(np.linspace(0, 1, 20), np.linspace(0, 1, 20), indexing="ij")
    np.testing.assert_allclose(grid, oracle(np.stack([down, across], -1)), atol=1e-12)


def test_a_line_is_drawn_between_its_two_examples() -> None:
    first, second = torch.tensor([0.1, 0.2]), torch.tensor([0.8, 0.9])
    decoded = lines(first[:, None], second[:, None], 3).flatten()  # [2·3]
    images = [values[:, None, None, None].expand(-1, 1, 2, 2) for values in (1 - first, 1 - second, decoded)]
    figure = draw_lines((images[0], images[1]), images[2], (0.0, 1.0))
    shown = np.asarray(figure.axes[0].images[0].get_array())
    side = shown.shape[0] // 2
    tiles = shown[side // 2 :: side, side // 2 :: side].squeeze()
    np.testing.assert_allclose(tiles[0], [0.9, 0.1, 0.45, 0.8, 0.2], atol=1e-6)  # float32
    np.testing.assert_allclose(tiles[1], [0.8, 0.2, 0.55, 0.9, 0.1], atol=1e-6)


def test_a_surface_is_drawn_row_by_row() -> None:
    values = torch.linspace(0, 1, 9)
    figure = draw_surface(values[:, None, None, None].expand(-1, 1, 2, 2), (0.0, 1.0))
    shown = np.asarray(figure.axes[0].images[0].get_array())
    side = shown.shape[0] // 3
    np.testing.assert_allclose(shown[side // 2 :: side, side // 2 :: side].flatten(), values, atol=1e-6)  # float32
