"""The mixture of many diagonal Gaussians with equal weights: a VampPrior, an aggregate posterior of some examples."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from framework.distributions import HALF_LOG_TWO_PI, SampleShape

_AT_ONCE = 2**22  # pairs of a point and a component whose densities are held at the same time: 32 MiB


class EqualMixture(Distribution):
    """p(z) = 1/K Σ_k N(z; μ_k, diag σ_k²), with batch shape () and event shape [D].

    K · D differences a point, of hundreds of components, would dominate a small model's step. Their squares multiplied
    out are three matrix products,

        Σ_d (z_d − μ_kd)²/σ_kd² = Σ_d z_d²/σ_kd² − 2 Σ_d z_d μ_kd/σ_kd² + Σ_d μ_kd²/σ_kd²,

    which cancel: in float32 a scale of 0.01 would cost the second decimal of a log-density. In float64, where they are
    taken whatever the type of z, sixteen digits remain to cancel in. The products make up a millisecond of a step.

    The weights are constants, so a sample has a gradient to the means and scales: it is one of a Gaussian that was
    chosen without them.

    Args:
        mean: μ, [K, D].
        log_scale: log σ, [K, D].

    Example:
        >>> p = EqualMixture(torch.zeros(500, 40), torch.zeros(500, 40))
        >>> p.log_prob(torch.zeros(7, 100, 40)).shape
        torch.Size([7, 100])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.means, self.log_scales = mean, log_scale.expand_as(mean)
        super().__init__(torch.Size(), mean.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.means.mean(0)

    @property
    def variance(self) -> Tensor:
        # that of the components on average, and that of their means
        return (2 * self.log_scales).exp().mean(0) + self.means.var(0, correction=0)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        chosen = torch.randint(len(self.means), shape[:-1], device=self.means.device)  # [*sample]
        noise = torch.randn(shape, dtype=self.means.dtype, device=self.means.device)
        return torch.addcmul(self.means[chosen], self.log_scales[chosen].exp(), noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(z), [*batch] nats, for z [*batch, D]."""
        mean, log_scale = self.means.double(), self.log_scales.double()
        precision = (-2 * log_scale).exp()  # [K, D], 1/σ²
        weighted = mean * precision
        # log N(z; μ_k, σ_k) where z = 0
        constant = -0.5 * (mean * weighted).sum(-1) - log_scale.sum(-1) - HALF_LOG_TWO_PI * mean.shape[-1]  # [K]
        constant = constant - math.log(len(mean))
        densities = []
        points = value.reshape(value.shape[:-1].numel(), mean.shape[-1])  # [N, D]
        for z in points.double().split(max(1, _AT_ONCE // len(mean))):
            exponent = torch.addmm(constant, z.square(), precision.T, alpha=-0.5)  # [n, K]
            densities.append(torch.addmm(exponent, z, weighted.T).logsumexp(-1))
        return torch.cat(densities).view(value.shape[:-1]).to(value.dtype)
