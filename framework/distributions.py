"""Distributions that torch lacks, lean forms of those on the hot path, and the Kullback–Leibler divergence of any two.

torch's own `Independent(Normal)` and `Independent(Bernoulli)` broadcast and take logarithms of exponentials at every
call: up to a fifth of a small model's training step. The lean forms compute what they are given directly, and are
tested against torch's. All are built with `validate_args=False`: data are checked once, when they are loaded.

Legend: B batch, D latent.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, register_kl
from torch.distributions.kl import kl_divergence as registered_kl

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
SampleShape = torch.Size | list[int] | tuple[int, ...]


class DiagonalGaussian(Distribution):
    """N(μ, diag σ²), by its mean and the logarithm of its scale.

    Args:
        mean: μ, [*batch, *event].
        log_scale: log σ, of the mean's shape or one that broadcasts to it.
        event_dimensions: how many of the last dimensions make up one event.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, mean: Tensor, log_scale: Tensor, event_dimensions: int = 1) -> None:
        self._mean, self.log_scale = mean, log_scale
        split = mean.dim() - event_dimensions
        super().__init__(mean.shape[:split], mean.shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def mode(self) -> Tensor:
        return self._mean

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp().expand_as(self._mean)

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp().expand_as(self._mean)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self._mean.dtype, device=self._mean.device)
        return torch.addcmul(self._mean, self.log_scale.exp(), noise)

    def log_prob(self, value: Tensor) -> Tensor:
        # −½ ((x − μ)/σ)² − log σ − ½ log 2π, summed over the event
        standardised = (value - self._mean) * (-self.log_scale).exp()
        density = standardised.square().mul(-0.5) - self.log_scale - HALF_LOG_TWO_PI
        return _sum_event(density, len(self.event_shape))

    def entropy(self) -> Tensor:
        density = (self.log_scale + (0.5 + HALF_LOG_TWO_PI)).expand_as(self._mean)
        return _sum_event(density, len(self.event_shape))


class StandardNormal(Distribution):
    """N(0, I) in D dimensions.

    Args:
        dimension: D.
        like: a tensor whose type and device the samples take.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, dimension: int, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), torch.Size((dimension,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.like.new_ones(self.event_shape)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        return torch.randn(
            self._extended_shape(torch.Size(sample_shape)), dtype=self.like.dtype, device=self.like.device
        )

    def log_prob(self, value: Tensor) -> Tensor:
        return value.square().sum(-1).mul(-0.5) - HALF_LOG_TWO_PI * self.event_shape[0]

    def entropy(self) -> Tensor:
        return self.like.new_tensor((0.5 + HALF_LOG_TWO_PI) * self.event_shape[0])


class BernoulliLogits(Distribution):
    """Independent Bernoulli variables, by their logits; events of any shape.

    Args:
        logits: log p/(1 − p), [*batch, *event].
        event_dimensions: how many of the last dimensions make up one event.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, event_dimensions: int = 1) -> None:
        self.logits = logits
        split = logits.dim() - event_dimensions
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.logits
        if value.shape != logits.shape:  # several samples an example: torch's cross-entropy does not broadcast
            logits, value = torch.broadcast_tensors(logits, value)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, value, reduction="none")
        return _sum_event(cross_entropy, len(self.event_shape)).neg()

    def entropy(self) -> Tensor:
        return self.log_prob(self.mean).neg()


class Delta(Distribution):
    """All mass on one point for each example: a deterministic encoder's posterior. It has no density.

    Args:
        value: the points, [*batch, *event].
        event_dimensions: how many of the last dimensions make up one event.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, value: Tensor, event_dimensions: int = 1) -> None:
        self.value = value
        split = value.dim() - event_dimensions
        super().__init__(value.shape[:split], value.shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        return self.value.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a deterministic posterior has no density: log q(z|x) does not exist")


def kl_divergence(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """Return KL(q‖p), [B] nats: in closed form where one is registered, otherwise its estimate from one sample.

    Closed form: exact, zero exactly when q = p. Monte Carlo: log q(z) − log p(z), unbiased, and for a single sample it
    may be negative. `torch.distributions.register_kl` adds closed forms.

    Args:
        q: the distribution that z was drawn from, batch shape [B].
        p: the reference, batch shape () or [B].
        z: [B, D], a reparametrised sample of q; used by the estimate alone.
    """
    exact = closed_form_kl(q, p)
    return q.log_prob(z) - p.log_prob(z) if exact is None else exact


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q‖p), [B] nats, or None where no closed form is registered.

    The distributions are asked and not their types: torch has one for two `Independent` only if it has one for their
    bases.
    """
    try:
        return registered_kl(q, p)
    except NotImplementedError:
        return None


class NoClosedForm(NotImplementedError):
    """What a registered divergence raises of parameters that it has no formula for, in torch's own protocol."""


class InfiniteDivergence(ValueError):
    """What a registered divergence raises where q has mass outside p; the message says where, and what to take."""


def kl_is_infinite(q: Distribution, p: Distribution) -> bool:
    """Return whether q is known to have mass where p has none: a registered divergence raises InfiniteDivergence."""
    try:
        closed_form_kl(q, p)
    except InfiniteDivergence:
        return True
    return False


@register_kl(DiagonalGaussian, StandardNormal)
def _gaussian_standard(q: DiagonalGaussian, p: StandardNormal) -> Tensor:
    # ½ Σ_j (μ² + σ² − log σ² − 1)
    doubled = 2 * q.log_scale
    return (q.mean.square() + doubled.exp() - doubled - 1).sum(-1).mul(0.5)


@register_kl(DiagonalGaussian, DiagonalGaussian)
def _gaussian_gaussian(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    ratio = 2 * (q.log_scale - p.log_scale)  # log σ_q²/σ_p²
    distance = ((q.mean - p.mean) * (-p.log_scale).exp()).square()
    return _sum_event((ratio.exp() + distance - 1 - ratio).mul(0.5), len(q.event_shape))


@register_kl(Independent, StandardNormal)
@register_kl(Independent, DiagonalGaussian)
@register_kl(DiagonalGaussian, Independent)
def _torch_gaussian(q: Distribution, p: Distribution) -> Tensor:
    # A plugin may write its Gaussian in torch's own words, Independent(Normal(…), 1): it is no less exact.
    return registered_kl(_as_diagonal(q), _as_diagonal(p))


def _as_diagonal(distribution: Distribution) -> Distribution:
    if not isinstance(distribution, Independent):
        return distribution
    base = distribution.base_dist
    if not isinstance(base, Normal):
        raise NoClosedForm  # Monte Carlo takes over
    return DiagonalGaussian(base.loc, base.scale.log(), distribution.reinterpreted_batch_ndims)


@register_kl(BernoulliLogits, BernoulliLogits)
def _bernoulli_bernoulli(q: BernoulliLogits, p: BernoulliLogits) -> Tensor:
    # E_q[log q − log p] with log p = −softplus(−logit), log(1 − p) = −softplus(logit)
    probability = q.mean
    divergence = probability * (q.logits - p.logits) + F.softplus(p.logits) - F.softplus(q.logits)
    return _sum_event(divergence, len(q.event_shape))


def _sum_event(values: Tensor, event_dimensions: int) -> Tensor:
    """Sum over the event's dimensions: [*batch, *event] → [*batch]."""
    return values.flatten(-event_dimensions).sum(-1) if event_dimensions else values


def matching_draws(p: Distribution, z: Tensor) -> Tensor:
    """Return as many draws of the prior as there are latents, [B, D], for a divergence that compares samples.

    A learned prior gets a gradient through them where it can be reparametrised, as `vampprior` and `flow` can; of a
    mixture, say, they are the draws and no more.

    Args:
        p: batch shape (), event shape [D].
        z: [B, D].
    """
    return p.rsample(z.shape[:1]) if p.has_rsample else p.sample(z.shape[:1])


def detached(distribution: Distribution) -> Distribution:
    """Return the same distribution with parameters that have no graph.

    Every tensor that it holds in an attribute is detached, and every distribution inside it likewise.
    """
    twin = copy.copy(distribution)
    for name, value in vars(distribution).items():
        if isinstance(value, Tensor):
            vars(twin)[name] = value.detach()
        elif isinstance(value, Distribution):
            vars(twin)[name] = detached(value)
    return twin
