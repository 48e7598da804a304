"""The baseline that is the mean return of the other samples."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import Baseline, OptionError, Samples, leave_one_out, register_baseline


@register_baseline("leave_one_out")
class LeaveOneOut(Baseline):
    """b_k = 1/(K − 1) Σ_{j ≠ k} G_j, over the samples that there are of the same context.

    0 where there is no other. With it the gradient is unbiased when the samples of a context are independent draws: of
    a latent variable they are, and so are whole episodes side by side, whose context is the time. Environments that
    began their episodes at different times have steps side by side that have nothing in common: still unbiased, and
    of little use.

    Args:
        replicas: runs side by side; only 1 will do, because the runs of others are samples of other policies.

    Raises:
        OptionError: there is more than one run.

    Example:
        >>> baseline = LeaveOneOut()
        >>> baseline(Samples(torch.zeros(3, 1), returns=torch.tensor([[1.0], [2.0], [6.0]]))).T
        tensor([[4.0000, 3.5000, 1.5000]])

    Reference: Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019,
        https://openreview.net/forum?id=r1lgTGL5DE.
    """

    fewest_samples = 2

    def __init__(self, *, replicas: int = 1) -> None:
        super().__init__()
        if replicas != 1:
            raise OptionError(
                "replicas",
                found=replicas,
                expected="1: the samples of other runs are of other policies",
                write="a baseline that keeps the runs apart, such as moving_average",
            )

    def forward(self, samples: Samples) -> Tensor:
        returns, mask = samples.returns, samples.mask
        if mask is None:
            return leave_one_out(returns) if len(returns) > 1 else torch.zeros_like(returns)
        returns = returns.masked_fill(~mask, 0)
        others = mask.sum(0) - mask.to(torch.int64)  # [K, B]
        return (returns.sum(0) - returns) / others.clamp(min=1)
