"""Standard normal numbers from many generators at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TURNED = 256  # streams that are drawn for at a time: what fits into a processor's cache is turned quickly


class NormalStreams:
    """One stream of standard normal numbers for each generator, drawn ahead in blocks.

    A stream's numbers are those of `generator.standard_normal()`, in order, whatever the size of the blocks and however
    many are taken together: numpy draws them one after the other. The blocks save a call for each generator and step,
    which would take some twenty times as long as the number. In memory the streams lie side by side, so that the next
    numbers of streams that go in step, as they mostly do, are one piece.

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
        self._ahead = np.empty((block, len(generators)))  # [block, N]
        self._taken = np.full(len(generators), block)  # [N], how many of them are used up

    def take(self, rows: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the next numbers of some streams.

        Args:
            rows: which streams [M], in ascending order, each at most once.
            count: how many of each, 0 or more.

        Returns:
            [M, count].
        """
        if count > len(self._ahead):
            self._widen(count)
        everyone = len(rows) == len(self._taken)
        taken = self._taken if everyone else self._taken[rows]  # [M]
        if taken.size and taken.max() + count > len(self._ahead):
            self._draw(rows[taken + count > len(self._ahead)])
            taken = self._taken if everyone else self._taken[rows]
        if everyone and taken.size and taken.min() == taken.max():
            begin = int(taken[0])
            self._taken += count
            return self._ahead[begin : begin + count].T.copy()
        numbers: NDArray[np.float64] = self._ahead[taken[:, None] + np.arange(count), rows[:, None]]
        self._taken[rows] += count
        return numbers

    def _draw(self, rows: NDArray[np.int64]) -> None:
        """Draw new numbers in place of those that are used up; what is left comes before them."""
        block = len(self._ahead)
        for some in np.split(rows, range(_TURNED, len(rows), _TURNED)):
            turned = self._ahead[:, some].T.copy()  # [≤ 256, block]
            for numbers, row, taken in zip(turned, some.tolist(), self._taken[some].tolist(), strict=True):
                numbers[: block - taken] = numbers[taken:]
                self.generators[row].standard_normal(out=numbers[block - taken :])
            self._ahead[:, some] = turned.T
        self._taken[rows] = 0

    def _widen(self, block: int) -> None:
        """Make room for larger blocks, with what is left at their ends."""
        missing = block - len(self._ahead)
        self._ahead = np.pad(self._ahead, ((missing, 0), (0, 0)))
        self._taken += missing
