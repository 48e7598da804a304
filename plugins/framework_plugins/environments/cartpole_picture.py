"""Pictures of carts and poles, drawn in numpy without a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 80  # pixels, of the picture's height and width
TRACK = 4.8  # metres across the picture: the cart's middle is at its edge when an episode ends
CART_WIDTH, CART_HEIGHT = 12.0, 6  # pixels
AXLE = 60  # the edge between rows on which the cart's top and the pole's lower end lie
# Three times what the track's scale gives for the pole's 1 m (16 pixels): a degree moves the tip by 0.8 pixels, not by
# 0.3, so that the angle can be seen.
POLE_LENGTH, POLE_WIDTH = 48, 3.0  # pixels
CART, POLE = 128, 255  # on a background of 0

_COLUMNS = np.arange(SIZE, dtype=np.int8)
_POLE_ROWS = slice(AXLE - POLE_LENGTH, AXLE)
_HEIGHTS = POLE_LENGTH - np.arange(POLE_LENGTH) - 0.5  # of the pole's rows' middles above the axle, top first


def draw(positions: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return pictures of carts and poles.

    A pixel is lit when its middle is inside a shape; there are no shades. The cart is a rectangle, 12 pixels wide and 6
    high, with its middle c = 80 (x / 4.8 + ½) pixels from the left edge and its top 60 from the upper one. The pole is
    a line, 3 pixels thick, from (c, 60), columns to the right and rows down, to (c + 48 sin θ, 60 − 48 cos θ); its ends
    are cut level. What lies outside of the picture is cut off.

    Args:
        positions: x [N], metres, 0 in the picture's middle.
        angles: θ [N], radians from upright, to the right positive; less than a quarter turn.

    Returns:
        uint8 [N, 80, 80], rows from the top: 0, `CART` or `POLE`.
    """
    middle = ((positions / TRACK + 0.5) * SIZE)[:, None]  # [N, 1]
    cosine = np.cos(angles)[:, None]  # [N, 1]
    line = middle + np.tan(angles)[:, None] * _HEIGHTS  # [N, 48], the pole's middle in each row
    thick = np.where(POLE_LENGTH * cosine > _HEIGHTS, POLE_WIDTH / 2 / cosine, 0.0)  # [N, 48], half of it, level
    pictures = np.zeros((len(positions), SIZE, SIZE), dtype=np.uint8)
    pictures[:, AXLE : AXLE + CART_HEIGHT] = CART * _between(middle - CART_WIDTH / 2, middle + CART_WIDTH / 2)
    pictures[:, _POLE_ROWS] = POLE * _between(line - thick, line + thick)
    return pictures


def _between(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return 1 for the pixels of rows whose middles are in [left, right), else 0: [N, rows] twice to [N, rows, 80]."""
    # In int8, eighty columns at a time: the whole picture's cost is here.
    first, end = (np.clip(np.ceil(edge - 0.5), 0, SIZE).astype(np.int8)[..., None] for edge in (left, right))
    return ((first <= _COLUMNS) & (end > _COLUMNS)).view(np.uint8)
