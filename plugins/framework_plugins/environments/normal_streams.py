"""Standard normal numbers from many generators at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class NormalStreams:
    """One stream of standard normal numbers for each generator, drawn ahead in blocks.

    A stream's numbers are those of `generator.standard_normal()`, in order, whatever the size of the blocks and however
    many are taken together: numpy draws them one after the other. The blocks save a call for each generator and step,
    which would take some twenty times as long as the number.

    Args:
        generators: N generators, which belong to this object from now on.
        block: numbers drawn ahead in each, 1 or more.

    Example:
        >>> streams = NormalStreams([np.random.default_rng(0), np.random.default_rng(1)])
        >>> streams.take(np.array([1]), 3).shape
        (1, 3)
    """

    def __init__(self, generators: Sequence[np.random.Generator], block: int = 256) -> None:
        self.generators = generators
        self._ahead = np.empty((len(generators), block))  # [N, block]
        self._taken = np.full(len(generators), block)  # [N], how many of them are used up

    def take(self, rows: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the next numbers of some streams.

        Args:
            rows: which streams [M], each at most once.
            count: how many of each, 0 or more.

        Returns:
            [M, count].
        """
        if count > self._ahead.shape[1]:
            self._widen(count)
        block = self._ahead.shape[1]
        taken = self._taken[rows]  # [M]
        if taken.size and taken.max() + count > block:
            for row in rows[taken + count > block]:
                left = block - self._taken[row]
                self._ahead[row, :left] = self._ahead[row, block - left :]
                self.generators[row].standard_normal(out=self._ahead[row, left:])
                self._taken[row] = 0
            taken = self._taken[rows]
        self._taken[rows] += count
        return self._ahead[rows[:, None], taken[:, None] + np.arange(count)]

    def _widen(self, block: int) -> None:
        """Make room for larger blocks, with what is left at their ends."""
        missing = block - self._ahead.shape[1]
        self._ahead = np.pad(self._ahead, ((0, 0), (missing, 0)))
        self._taken += missing
