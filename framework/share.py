"""Which rows of a batch are here, and what that changes: draws, samples, means.

Three things make several processes, or several microbatches, take the step that one would take with the whole batch:

- what depends on the examples one by one is a mean over the rows here; the average of equal parts' means is the mean;
- what depends on the whole batch is computed by every process from all rows (`framework.gathering`);
- random numbers for the rows here are those rows of the draw for all (`framework.global_draws`), from generators that
  are seeded alike everywhere.

Legend: W processes, B rows of the whole batch, b rows here, D latent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from framework.distributed import sum_over_ranks
from framework.gathering import gather
from framework.global_draws import GlobalDraws


def _reparametrised(q: Distribution) -> Tensor:
    return q.rsample()


@dataclass(frozen=True)
class Share:
    """Which rows of a global batch are here: the `position`-th of `count` equal contiguous parts.

    The other parts are with the other processes now (`gathers`), or with this one at another time (a microbatch).

    Args:
        position: from 0.
        count: at least 1; W where it gathers.
        rows: b, the examples here; of no account where they are the whole batch.
        gathers: whether the other parts are with the other processes at this moment.
    """

    position: int = 0
    count: int = 1
    rows: int = 0
    gathers: bool = False

    def draws(self) -> AbstractContextManager[Any]:
        """Return the context in which the draws for b examples are this part's of the whole batch's.

        See `GlobalDraws`; nothing changes where this is the whole batch.
        """
        return nullcontext() if self.count == 1 else GlobalDraws(self.position, self.count, self.rows)

    def own(self, whole: Tensor) -> Tensor:
        """Return this part's rows.

        Args:
            whole: [count·b, ...].

        Returns:
            [b, ...], a view.
        """
        rows = len(whole) // self.count
        return whole.narrow(0, self.position * rows, rows)

    def sample(
        self, q: Distribution, draw: Callable[[Distribution], Tensor] = _reparametrised
    ) -> tuple[Distribution, Tensor, Tensor]:
        """Return q of the whole batch, a sample of it, and this part's rows of the sample.

        Where the share does not gather, of the part: q itself, z and z.

        Args:
            q: of this part, batch shape [b].
            draw: q → z, [b, ...] for batch shape [b]; by default reparametrised.

        Returns:
            Batch shape [B]; z ~ q, [B, ...]; [b, ...].

        Raises:
            IncompatibleParts: a q that cannot be gathered; see `gather`.
        """
        if not self.gathers:
            z = draw(q)  # [b, ...]
            return q, z, z
        q = gather(q)
        z = draw(q)  # [B, ...]
        return q, z, self.own(z)

    def several(self, samples: int) -> Share:
        """Return the share of a batch in which each example stands `samples` times in a row."""
        return replace(self, rows=self.rows * samples)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the whole batch, the same bits on every process, with the gradient of the own part's.

        The gradients are averaged over processes later. Where the share does not gather, the value itself.

        Args:
            value: [], the mean over the own examples.

        Returns:
            [].
        """
        if not self.gathers:
            return value
        # In this order the second summand is exactly zero, and processes cannot differ by a rounding.
        return sum_over_ranks(value) / self.count + (value - value.detach())


WHOLE = Share()
