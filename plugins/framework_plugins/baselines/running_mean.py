"""Means of what was seen so far, plain or with the past decaying, in buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framework import OptionError
from framework.gathering import gather_rows


class RunningMean(nn.Module):
    """A mean for each cell of a table, 0 until something was seen there.

        m ← m + g/w·(x̄ − m),    w ← k·w + g

    x̄ is the mean of what came now. Plain: k = 1 and g is how many came, and m is the mean of all there ever were.
    With a decay: k is the decay and g = 1, and m is the mean over batches, each counting `decay` times the next: an
    exponential moving average with Adam's correction, which owes nothing to the 0 that it starts at. A cell for which
    nothing came stays as it was. On several processes the means are those of what came to all of them.

    Args:
        shape: of the table.
        decay: in [0, 1), or None for the plain mean.

    Raises:
        OptionError: the decay is out of range.

    Example:
        >>> running = RunningMean(2, decay=None)
        >>> running.update(sums=torch.tensor([6.0, 0.0]), counts=torch.tensor([3, 0]))
        >>> running.mean
        tensor([2., 0.])

    Reference: Kingma & Ba, "Adam", 2015, section 3, https://arxiv.org/abs/1412.6980 (the correction).
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, *shape: int, decay: float | None) -> None:
        super().__init__()
        if decay is not None and not 0 <= decay < 1:
            raise OptionError("decay", found=decay, expected="a number in [0, 1), or null for the plain average")
        self.decay = decay
        self.register_buffer("mean", torch.zeros(shape))  # m
        self.register_buffer("weight", torch.zeros(shape))  # w

    @torch.no_grad()
    def update(self, sums: Tensor, counts: Tensor) -> None:
        """Take in what came.

        Args:
            sums: for each cell, of what came, the table's shape.
            counts: how many came, the table's shape.
        """
        rows = gather_rows(sums[None].to(self.mean), counts[None].to(self.mean))  # [W, *shape] each
        total, count = (one.sum(0) for one in rows)
        came = count > 0
        if self.decay is None:
            kept, gained = self.weight, count
        else:
            kept, gained = torch.where(came, self.decay * self.weight, self.weight), came.to(self.mean)
        weight = kept + gained
        step = gained / weight.clamp(min=1) * (total / count.clamp(min=1) - self.mean)
        self.mean.copy_(self.mean + torch.where(came, step, 0.0))
        self.weight.copy_(weight)
