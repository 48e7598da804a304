"""The latent plane: which points are decoded, and where they are drawn."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from framework.latent_plane import draw_quantile_plane, quantiles, square


def test_plane_is_at_the_quantiles_of_the_standard_normal() -> None:
    plane = square(quantiles()).reshape(20, 20, 2)
    expected = norm.ppf((np.arange(20) + 0.5) / 20)
    # scipy's own implementation; both are good to float64 rounding
    np.testing.assert_allclose(plane[7, :, 0], expected, rtol=1e-12)  # z₁ grows to the right
    np.testing.assert_allclose(plane[:, 7, 1], expected[::-1], rtol=1e-12)  # z₂ grows upwards


def test_each_point_is_drawn_where_it_lies() -> None:
    points = square(quantiles())
    grey = (points[:, 0] > points[:, 1]).double()[:, None, None, None].expand(-1, 1, 2, 2)  # white below the diagonal
    axes = draw_quantile_plane(grey, (0.0, 1.0)).axes[0]
    shown = np.asarray(axes.images[0].get_array())
    side = shown.shape[0] // 20
    tiles = shown[side // 2 :: side, side // 2 :: side].squeeze()  # the middles
    assert tiles.shape == (20, 20)
    np.testing.assert_array_equal(tiles, grey[:, 0, 0, 0].reshape(20, 20))
    assert tiles[19, 19] > tiles[0, 0]  # z₁ > z₂ at the lower right
