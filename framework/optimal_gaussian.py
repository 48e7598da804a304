"""The Gaussian likelihood whose variance is the one that fits best.

Legend: B examples of a batch, P pixels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from framework.batch_statistics import BatchStatistics
from framework.distributions import SampleShape

_LEAST = math.exp(-12)  # σ² at log σ = −6, where the authors end it: a perfect fit has no finite likelihood
_DECAY = 0.01  # the share of a batch in the running variance


class OptimalVariance(BatchStatistics):
    """σ² = 1/(BP) Σ (x − μ)², the maximum of the likelihood: in training of the batch, in evaluation of the last ones.

    The running value is the mean over the first hundred batches, and decays exponentially after them: no batch of
    validation has a say in it, and each example's likelihood is its own.
    """

    instead: ClassVar[str] = "learn_sigma: true, or a number for sigma"

    def __init__(self) -> None:
        super().__init__()
        self.running: Tensor
        self.batches: Tensor
        self.register_buffer("running", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, squared: Tensor) -> Tensor:
        """Return σ², [], without a gradient, for squared errors [*batch, *event]; in training they are recorded.

        Nothing is lost with the gradient: at the maximum the likelihood's derivative to σ is zero.
        """
        if not self.training:
            return self.running
        variance = squared.detach().mean().clamp_min(_LEAST)
        self.batches += 1
        share = (1 / self.batches.to(variance.dtype)).clamp_min(_DECAY)
        self.running += (share * (variance - self.running)).to(self.running.dtype)
        return variance


class OptimalGaussian(Distribution):
    """N(μ, σ² I), with one σ for all pixels that is not known before the data are.

    `log_prob` asks `variance` for it; `sample` takes the running one.

    Args:
        mean: μ, [*batch, *event].
        variance: squared errors → σ².
        event_dimensions: how many of the last dimensions make up one event.

    Reference: Rybkin, Daniilidis & Levine, "Simple and Effective VAE Training with Calibrated Decoders", 2021, equation
        7, https://arxiv.org/abs/2006.13202.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, mean: Tensor, variance: OptimalVariance, event_dimensions: int) -> None:
        self._mean, self._variance = mean, variance
        split = mean.dim() - event_dimensions
        super().__init__(mean.shape[:split], mean.shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return self._variance.running.expand_as(self._mean)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self._mean.dtype, device=self._mean.device)
        return self._mean + self._variance.running.sqrt() * noise

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self._mean).square()
        variance: Tensor = self._variance(squared)  # []
        pixels = self.event_shape.numel()
        squares = squared.flatten(-len(self.event_shape)).sum(-1)  # [*batch]
        return -0.5 * (squares / variance + pixels * (2 * math.pi * variance).log())
