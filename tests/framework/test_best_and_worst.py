"""The best and the worst reconstructions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from framework.best_and_worst import best_and_worst, draw_best_and_worst


@pytest.mark.parametrize(
    ("nats", "best", "worst"),
    [
        ([3.0, 1.0, 2.0, 5.0, 4.0], [1, 2], [3, 4]),
        ([3.0, math.nan, math.inf, 1.0], [3], [0]),
        ([-2.0], [0], [0]),
        ([math.nan], [], []),
    ],
)
def test_they_are_those_of_least_and_of_most_nats(nats: list[float], best: list[int], worst: list[int]) -> None:
    found = best_and_worst(torch.tensor(nats))
    assert [rows.tolist() for rows in found] == [best, worst]


def test_there_are_at_most_twelve_of_each() -> None:
    nats = torch.arange(100.0).roll(30)
    best, worst = best_and_worst(nats)
    assert nats[best].tolist() == list(range(12))
    assert nats[worst].tolist() == list(range(99, 87, -1))


def test_each_stands_above_its_reconstruction_and_its_nats() -> None:
    values = torch.tensor([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]])
    images = values[..., None, None, None].expand(2, 3, 1, 2, 2)
    nats = torch.tensor([[-1.0, 2.04, 3.0], [12_345.6, 80.0, 70.26]])
    names = [["−1.0", "2.0", "3.0"], ["12,346", "80.0", "70.3"]]
    figure = draw_best_and_worst(tuple(images), tuple(1 - images), tuple(nats), (0.0, 1.0), examples=6)
    for panel, shades, below in zip(figure.axes, values.numpy(), names, strict=True):
        shown = np.asarray(panel.images[0].get_array())
        side = shown.shape[0] // 2
        tiles = shown[side // 2 :: side, side // 2 :: side].squeeze()
        np.testing.assert_allclose(tiles[0, :3], shades, atol=1e-6)  # float32
        np.testing.assert_allclose(tiles[1, :3], 1 - shades, atol=1e-6)
        assert (tiles[:, 3:] == 1).all()  # blank
        assert [label.get_text() for label in panel.get_xticklabels()] == below
