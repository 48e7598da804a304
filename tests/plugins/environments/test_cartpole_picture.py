"""The pictures against polygons of matplotlib's, and against gymnasium's own rendering."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from matplotlib.path import Path

from framework_plugins.environments.cartpole_picture import CART, POLE, draw

MIDDLES = np.stack(np.meshgrid(np.arange(80) + 0.5, np.arange(80) + 0.5), axis=-1).reshape(-1, 2)  # (column, row)
PLACES = [(0.0, 0.0), (0.0, 0.1), (1.0, -0.2), (-1.3, 0.017), (2.39, 0.2), (-2.45, -0.21), (0.4, 0.8), (0.7, -1.2)]


def inside(corners: list[tuple[float, float]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array(Path([*corners, corners[0]]).contains_points(MIDDLES).reshape(80, 80))


@pytest.mark.parametrize(("position", "angle"), PLACES)
def test_a_picture_is_two_polygons(position: float, angle: float) -> None:
    position += 1e-3  # so that no pixel's middle lies on an edge, where it may count as in or out
    column = (position + 2.4) * 80 / 4.8
    cart = inside([(column - 6, 60), (column + 6, 60), (column + 6, 66), (column - 6, 66)])
    tip, half = (column + 48 * math.sin(angle), 60 - 48 * math.cos(angle)), 1.5 / math.cos(angle)
    pole = inside([(column - half, 60), (column + half, 60), (tip[0] + half, tip[1]), (tip[0] - half, tip[1])])
    expected = np.where(pole, POLE, np.where(cart, CART, 0))
    picture = draw(np.array([position]), np.array([angle]))[0]
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)
    assert pole.any()


def test_the_cart_is_at_its_column_and_the_tip_where_the_angle_says() -> None:
    for position, angle in PLACES[:4]:
        picture = draw(np.array([position]), np.array([angle]))[0]
        column = (position + 2.4) * 80 / 4.8
        lit = np.flatnonzero((picture == CART).any(axis=0))
        assert lit.mean() + 0.5 == pytest.approx(column, abs=0.5)  # half a pixel: there are no shades
        top = np.flatnonzero((picture == POLE).any(axis=1)).min()
        assert top == pytest.approx(60 - 48 * math.cos(angle), abs=0.5)
        assert np.flatnonzero(picture[top] == POLE).mean() + 0.5 == pytest.approx(
            column + 48 * math.sin(angle), abs=0.75  # half a pixel, and half a row further down the pole
        )  # fmt: skip


def test_many_are_drawn_as_one_by_one() -> None:
    positions, angles = np.array(PLACES).T
    together = draw(positions, angles)
    assert together.shape == (len(PLACES), 80, 80)
    for i in range(len(PLACES)):
        np.testing.assert_array_equal(together[i], draw(positions[i : i + 1], angles[i : i + 1])[0])


def lower_end_and_slope(pole: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[float, float]:
    """Return the column of a drawn pole's lower end, and how many columns to the right it goes a row upwards."""
    rows = np.flatnonzero(pole.any(axis=1))
    rows = rows[len(rows) // 10 : -(len(rows) // 10)]  # its ends may be cut aslant, or lie below the axle
    middles = [np.flatnonzero(pole[row]).mean() + 0.5 for row in rows]
    slope, _ = np.polyfit(-rows, middles, 1)
    return float(middles[-1]), float(slope)


@pytest.mark.filterwarnings("ignore")  # pygame's own
@pytest.mark.parametrize(("position", "angle"), [(0.0, 0.0), (1.2, 0.2), (-1.7, -0.15), (0.3, -0.1)])
def test_left_and_right_are_gymnasiums(position: float, angle: float) -> None:
    pytest.importorskip("pygame")
    theirs = CartPoleEnv(render_mode="rgb_array")
    theirs.state = np.array([position, 0.0, angle, 0.0])
    image = theirs.render()
    theirs.close()
    assert image is not None
    wooden = (image == (202, 152, 101)).all(axis=2)  # the pole's colour there, on 400 × 600 pixels
    ours = draw(np.array([position]), np.array([angle]))[0] == POLE
    (foot, slope), (their_foot, their_slope) = lower_end_and_slope(ours), lower_end_and_slope(wooden)
    assert foot / 80 == pytest.approx(their_foot / 600, abs=0.01)  # shares of the width; 0.8 of our pixels
    assert slope == pytest.approx(their_slope, abs=0.02)  # a pixel along our pole
    assert slope == pytest.approx(math.tan(angle), abs=0.02)
