"""Streams against the generators that they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from framework_plugins.environments.normal_streams import NormalStreams


def generators() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(3)]


@pytest.mark.parametrize("block", [1, 2, 7, 256])
@pytest.mark.parametrize("share", [0.6, 1.0])  # of the streams that are taken from: with all, they go in step
def test_a_stream_is_what_its_generator_draws(share: float, block: int) -> None:
    streams, takings = NormalStreams(generators(), block), np.random.default_rng(9)
    taken: list[list[float]] = [[], [], []]
    for _ in range(40):
        rows = np.flatnonzero(takings.random(3) < share)
        count = int(takings.integers(0, 12))  # also more than a block holds
        numbers = streams.take(rows, count)
        assert numbers.shape == (len(rows), count)
        for row, mine in zip(rows, numbers, strict=True):
            taken[row] += mine.tolist()
    assert min(map(len, taken)) > 100
    for mine, generator in zip(taken, generators(), strict=True):
        assert mine == [generator.standard_normal() for _ in mine]  # to the bit: they are the same draws
