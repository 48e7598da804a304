"""The factors of a distribution whose coordinates, or variables, are independent.

Legend: B batch, D latent, F factors, G variables of C categories.
"""

from __future__ import annotations

from functools import singledispatch

from torch import Tensor
from torch.distributions import Distribution

from framework.discrete import OneHotLogits
from framework.distributions import BernoulliLogits, DiagonalGaussian, StandardNormal, closed_form_kl


@singledispatch
def factors(distribution: Distribution) -> Distribution | None:
    """Return the independent factors of a distribution over latents, side by side in the batch, or None.

    A diagonal Gaussian and bits have D factors; G one-hot variables have G. None is of a distribution whose coordinates
    depend on each other, or that is not known here. `factors.register` adds one.

    Args:
        distribution: batch shape [*batch], event shape [D].

    Returns:
        Batch shape [*batch, F] or, where all factors are the same, [*batch]; event shape [D/F].
    """
    return None


@factors.register
def _gaussians(distribution: DiagonalGaussian) -> Distribution:
    log_scale = distribution.log_scale.expand_as(distribution.mean)
    return DiagonalGaussian(distribution.mean.unsqueeze(-1), log_scale.unsqueeze(-1))


@factors.register
def _standard_normals(distribution: StandardNormal) -> Distribution:
    return StandardNormal(1, distribution.like)


@factors.register
def _bits(distribution: BernoulliLogits) -> Distribution:
    return BernoulliLogits(distribution.logits.unsqueeze(-1))


@factors.register
def _one_hot(distribution: OneHotLogits) -> Distribution:
    return OneHotLogits(distribution.logits.unsqueeze(-2))


def kl_of_factors(q: Distribution, p: Distribution) -> Tensor | None:
    """Return the KL divergence of each factor of q from that of p, [B, F] nats, or None without a closed form.

        KL(q‖p) = Σ_f KL(q_f‖p_f)   where both are products

    Zero exactly when the factors agree.

    Args:
        q: batch shape [B], event shape [D].
        p: batch shape () or [B], event shape [D].

    Example:
        >>> import torch
        >>> q = DiagonalGaussian(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        >>> kl_of_factors(q, StandardNormal(2, torch.zeros(())))
        tensor([[0., 2.]])
    """
    of_q, of_p = factors(q), factors(p)
    return None if of_q is None or of_p is None else closed_form_kl(of_q, of_p)
