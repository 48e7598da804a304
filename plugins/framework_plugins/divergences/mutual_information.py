"""The mutual information of examples and latents."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework import Divergence, register_divergence


@register_divergence("mutual_information")
class MutualInformation(Divergence):
    """I(x;z) = E_x KL(q(z|x)‖q(z)), in [0, log N] nats for N examples, estimated from a batch of B.

    The aggregate posterior q(z) is a mixture of the batch's posteriors,

        I ≈ 1/B Σ_i [log q(z_i|x_i) − log 1/n Σ_j q(z_i|x_j)].

    `lower`: the mixture includes i itself (n = B); in expectation a lower bound of I, and at most log B. `upper`:
    the mixture leaves i out (n = B − 1); in expectation an upper bound of I. Both are biased, and the truth lies
    between their expectations; zero is attainable when q(z|x) does not depend on x. A negative weight rewards
    information.

    Args:
        bound: which of the two.

    Returns:
        [], nats.

    Example:
        >>> from framework import DiagonalGaussian, StandardNormal
        >>> codes = torch.tensor([[-9.0], [9.0], [-9.0], [9.0]])  # two codes, far apart: a bit
        >>> value = MutualInformation()(DiagonalGaussian(codes, torch.zeros(1)), StandardNormal(1, codes), codes)
        >>> bool((value - math.log(2)).abs() < 1e-6)
        True

    Oracle: the double sum over pairs, written out; a Gaussian channel, whose D/2 · log(1 + a²/s²) the expectations of
        the two bounds enclose.

    Reference: Poole et al., "On Variational Bounds of Mutual Information", 2019, section 2.5
        (in-batch, lower; leave-one-out, upper), https://arxiv.org/abs/1905.06922.
    """

    aggregate = True
    rewardable = True
    needs_density = True
    decomposition: ClassVar[dict[str, float]] = {"I(x;z)": 1.0}

    def __init__(self, *, bound: Literal["lower", "upper"] = "lower") -> None:
        super().__init__()
        self.bound = bound
        self.estimator = f"{bound} bound from the batch"

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        count = len(z)
        pairs = q.log_prob(z.unsqueeze(1))  # [B, B]: log q(z_i|x_j) in row i
        own = pairs.diagonal()  # [B]
        if self.bound == "upper":
            if count < 2:
                raise ValueError(
                    "mutual_information: the upper bound leaves one example out and expects a batch of 2 or more, "
                    "found 1; write bound: lower, or a larger data.batch_size"
                )
            pairs = pairs.masked_fill(torch.eye(count, dtype=torch.bool, device=z.device), -torch.inf)
            count -= 1
        return (own - (pairs.logsumexp(1) - math.log(count))).mean()
