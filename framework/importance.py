"""log p(x) by importance sampling from the posterior, streamed: memory does not grow with the number of samples.

Legend: B examples of a block, K samples, S of them at a time, D latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.distributions import BernoulliLogits


@dataclass(frozen=True)
class Importance:
    """What importance sampling found of some examples, [B] each, float64, nats unless said.

    Args:
        log_likelihood: log 1/K Σ_k w_k, w_k = p(x, z_k)/q(z_k|x). In expectation a lower bound of log p(x), with a bias
            of about half its variance; it rises with K.
        variance: of that number over other draws of the samples, by the delta method, nats².
        elbo: 1/K Σ_k log w_k, an unbiased estimate of the evidence lower bound; never above the first.
        reconstruction: −1/K Σ_k log p(x|z_k); unbiased.
        effective_samples: (Σ w)²/Σ w², in [1, K]: how many samples of p(z|x) itself would do as well.
    """

    log_likelihood: Tensor
    variance: Tensor
    elbo: Tensor
    reconstruction: Tensor
    effective_samples: Tensor

    @staticmethod
    def join(blocks: list[Importance]) -> Importance:
        """Return several blocks of examples as one."""
        names = [field.name for field in fields(Importance)]
        return Importance(**{name: torch.cat([getattr(block, name) for block in blocks]) for name in names})


def importance_sampling(
    q: Distribution,
    p: Distribution,
    log_likelihood: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
) -> Importance:
    """Return log p(x) and what belongs to it, from samples that come a few at a time.

        log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x),   z_k ~ q(z|x)
        log p(x) ≈ log 1/K Σ_k w_k

    The weights hold the density of the sample that was drawn. With the analytic KL in its place they would be of no
    bound: the average of exp(log p(x|z) − KL) is too large or too small by as much as the posterior is uncertain.

    The sums of w and w² are kept relative to the largest weight so far, in float64. With s² the sample variance of w
    and w̄ its mean, the delta method gives Var log w̄ ≈ s²/(K w̄²).

    Args:
        q: q(z|x), batch shape [B].
        p: p(z), batch shape ().
        log_likelihood: z [S·B, D] → log p(x|z) [S, B], the rows of z in the order of the samples and then of the
            examples.
        batches: samples of q, [S, B, D] each; K in all.

    Returns:
        See `Importance`.

    Raises:
        ValueError: there is no sample.

    Example:
        >>> from framework import DiagonalGaussian, StandardNormal
        >>> q, p = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2)), StandardNormal(2, torch.zeros(()))
        >>> found = importance_sampling(q, p, lambda z: torch.zeros(len(z), 1), sample_batches(q, 8, at_once=3))
        >>> round(found.log_likelihood.item(), 6), round(found.effective_samples.item(), 6)
        (0.0, 8.0)

    Reference: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016, equation 8 and section 5,
        https://arxiv.org/abs/1509.00519; Owen, "Monte Carlo theory, methods and examples", chapter 9, for the variance,
        https://artowen.su.domains/mc/.
    """
    running: _Sums | None = None
    for z in batches:  # [S, B, D]
        flat = z.flatten(0, 1)  # [S·B, D]
        fit = log_likelihood(flat).double()  # [S, B]
        log_weights = fit + p.log_prob(flat).view(fit.shape) - q.log_prob(z)  # [S, B]
        running = running or _Sums(log_weights)
        running.add(log_weights, fit)
    if running is None:
        raise ValueError("importance sampling expects at least one sample, found none")
    return running.result()


class _Sums:
    """Sums over the samples so far, [B] each, float64."""

    def __init__(self, like: Tensor) -> None:
        zeros = like.new_zeros(like.shape[1:])
        self.count, self.peak = 0, torch.full_like(zeros, -torch.inf)
        self.first, self.second, self.log_weights, self.fit = zeros, zeros, zeros, zeros

    def add(self, log_weights: Tensor, fit: Tensor) -> None:
        peak = torch.maximum(self.peak, log_weights.amax(0))  # [B]
        # Where no weight is above zero yet, −∞ − −∞ would be no number.
        shift = peak.where(peak.isfinite(), torch.zeros_like(peak))
        rescale = (self.peak - shift).exp()
        relative = (log_weights - shift).exp_()  # [S, B]
        self.first = self.first * rescale + relative.sum(0)
        self.second = self.second * rescale.square() + relative.square_().sum(0)
        self.peak, self.count = peak, self.count + len(fit)
        self.log_weights = self.log_weights + log_weights.sum(0)
        self.fit = self.fit + fit.sum(0)

    def result(self) -> Importance:
        count = self.count
        effective = self.first.square() / self.second
        # s²/(K w̄²) with s² = (Σw² − K w̄²)/(K − 1)
        variance = (
            (count / effective - 1).clamp_min(0) / (count - 1) if count > 1 else torch.full_like(effective, torch.nan)
        )
        return Importance(
            log_likelihood=self.peak + self.first.log() - math.log(count),
            variance=variance,
            elbo=self.log_weights / count,
            reconstruction=-self.fit / count,
            effective_samples=effective,
        )


def sample_batches(q: Distribution, samples: int, at_once: int) -> Iterator[Tensor]:
    """Yield K samples of q, [S, B, D] at a time."""
    for start in range(0, samples, at_once):
        yield q.sample(torch.Size((min(at_once, samples - start),)))


def log_likelihoods(likelihood: Distribution, x: Tensor) -> Tensor:
    """Return log p(x_b|z_sb), [S, B] nats, of a likelihood of S samples for each of B examples.

    Args:
        likelihood: batch shape [S·B], sample by sample.
        x: [B, *input_shape].
    """
    samples = likelihood.batch_shape[0] // len(x)
    if isinstance(likelihood, BernoulliLogits) and bool(((x == 0) | (x == 1)).all()):
        return log_likelihood_of_bits(likelihood.logits.view(samples, len(x), -1), x.flatten(1))
    repeated = x.expand(samples, *x.shape).flatten(0, 1)  # [S·B, *input_shape]
    return likelihood.log_prob(repeated).view(samples, len(x))


def log_likelihood_of_bits(logits: Tensor, x: Tensor) -> Tensor:
    """Return Σ_i log Bernoulli(x_i), [S, B] nats, in a third of the time of torch's cross-entropy on a CPU.

    With t = (1 − 2x)·l, of a bit x and its logit l,

        −log p = Σ softplus(t) = Σ max(t, 0) − log Π σ(|t|).

    The factors σ(|t|) lie in [½, 1]: a product of 64 of them is far above the least number, so that one logarithm
    serves 64 pixels. The error is that of rounding.

    Args:
        logits: l, [S, B, P], float32 or float64; they are left as they are.
        x: [B, P], zeros and ones.

    Example:
        >>> log_likelihood_of_bits(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]]))
        tensor([[-1.3863]])
    """
    turned = logits * (1 - 2 * x)  # t, [S, B, P]
    positive = turned.relu().sum(-1)  # [S, B]
    factors = turned.abs_().sigmoid_()
    width = factors.shape[-1]
    for _ in range(6):  # each time half as many products, of twice as many factors
        half = (width + 1) // 2
        factors[..., : width - half].mul_(factors[..., half:width])
        width = half
    return factors[..., :width].log().sum(-1) - positive
