"""How a latent-variable model draws its latents, and what it makes smaller with several of them an example.

Legend: B batch, K samples, D latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.baseline import Baseline, FittedBaseline, Samples
from framework.bounds import Bound, doubly_reparametrised, importance_weighted_bound
from framework.discrete import relaxed, straight_through
from framework.distributions import detached
from framework.estimators import score_function
from framework.schedule import Counters, Schedule, value_at

Estimator = Literal["pathwise", "straight_through", "score_function"]


@dataclass(frozen=True)
class Latents:
    """The posteriors and latents of the examples here, those of the whole batch, and the prior.

    With several samples an example z is [B, K, D], otherwise [B, D].
    """

    q: Distribution
    z: Tensor
    whole_q: Distribution
    whole_z: Tensor
    p: Distribution


@dataclass(frozen=True)
class Draws:
    """q → z, so that a gradient comes back in the way that the estimator is named after.

    Args:
        bound: which is made greater; all but `elbo` take K samples.
        samples: K.
        estimator: of the gradient.
        temperature: τ > 0 of relaxed draws, without unit; None where none are made.
    """

    bound: Bound
    samples: int
    estimator: Estimator
    temperature: float | Schedule | None

    @property
    def several(self) -> bool:
        """Whether z has a dimension for the samples, also for one."""
        return self.bound != "elbo" or self.estimator == "score_function"

    def __call__(self, q: Distribution, counters: Counters | None) -> Tensor:
        """Return z ~ q, [B, D], or [B, K, D] where there are several.

        Args:
            q: batch shape [B], event shape [D].
            counters: how far training has come; None asks for true draws, by which models are judged.
        """
        if self.several:
            # One after the other: each is a draw of a row an example, which several processes can share.
            return torch.stack([self._one(q, counters) for _ in range(self.samples)], dim=1)
        return self._one(q, counters)

    def _one(self, q: Distribution, counters: Counters | None) -> Tensor:
        if self.estimator == "score_function":
            return q.sample()
        if q.has_rsample:
            return q.rsample()
        if counters is None:
            return q.sample()
        if self.estimator == "straight_through":
            return straight_through(q)
        assert self.temperature is not None
        return relaxed(q, value_at(self.temperature, counters))


def weighted_bound(latents: Latents, cost: Tensor, *, doubly: bool) -> Tensor:
    """Return L_K, an importance-weighted bound of log p(x), [B] nats.

    Args:
        latents: of which z is [B, K, D].
        cost: −log p(x|z), [K, B] nats.
        doubly: whether with the doubly reparametrised gradient; see `framework.bounds`.
    """
    q = detached(latents.q) if doubly else latents.q
    z = latents.z.transpose(0, 1)  # [K, B, D]
    log_weights = latents.p.log_prob(z) - q.log_prob(z) - cost
    return doubly_reparametrised(log_weights, latents.z) if doubly else importance_weighted_bound(log_weights)


def surrogate(
    latents: Latents, cost: Tensor, x: Tensor, baseline: Baseline | None
) -> tuple[Tensor, dict[str, Tensor], Samples]:
    """Return what has the score function's gradient, [], what is to be known of the baseline, and what it learns from.

    Args:
        latents: of which z is [B, K, D].
        cost: −log p(x|z), [K, B] nats.
        x: [B, *input_shape].
        baseline: of the log-likelihood; None is 0. A fitted one's loss is added.
    """
    samples = Samples(x.expand(len(cost), *x.shape), -cost.detach())
    compared, fit, metrics = torch.zeros_like(cost), cost.new_zeros(()), {}
    if baseline is not None:
        compared = -baseline(samples).detach()
    if isinstance(baseline, FittedBaseline):
        fit = baseline.loss(samples).mean()
        metrics["baseline_loss"] = fit.detach()
    log_prob = latents.q.log_prob(latents.z.transpose(0, 1))  # [K, B]
    return score_function(log_prob, cost, compared).mean() + fit, metrics, samples
