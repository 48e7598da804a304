"""Two numbers that tell the two failures of a latent-variable model: latents that say nothing, codes off the prior.

Legend: B examples, D latent.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from framework.distributions import StandardNormal

ACTIVE = 0.01  # of Burda et al.; the variances of trained models lie far on either side of it
_LEAST_VARIANCE = 1e-12  # a float32 code around 1 has no finer differences than 1e-7, whose square is less


def latent_health(q: Distribution, p: Distribution) -> dict[str, Tensor]:
    """Return `active_units` and, under the prior N(0, I), `aggregate_mismatch`, [] each; nothing of a single example.

    Args:
        q: the posteriors of a batch, batch shape [B], event shape [D].
        p: the prior, batch shape (), event shape [D].
    """
    if q.batch_shape[0] < 2:  # one example has no variance
        return {}
    metrics = {"active_units": active_units(q)}
    if isinstance(p, StandardNormal):
        metrics["aggregate_mismatch"] = aggregate_mismatch(q)
    return metrics


def active_units(q: Distribution) -> Tensor:
    """Return how many latent units depend on x: those with Var_x(E_q[z_j|x]) > 0.01.

    Zero exactly when no posterior mean moves with x by more than that: the decoder then sees noise, and all samples
    look alike (posterior collapse). From a batch the variance is the unbiased one; the count errs for units near the
    threshold alone. It is not a measure of information: a unit of tiny variance in x may be exact where q is narrow.

    Args:
        q: batch shape [B], B at least 2, event shape [D]; its mean is what is looked at, so that it may be a `Delta`.

    Returns:
        [], between 0 and D.

    Example:
        >>> import torch
        >>> from framework.distributions import Delta
        >>> active_units(Delta(torch.tensor([[0.0, 1.0, 0.00], [0.0, 2.0, 0.01]])))
        tensor(1.)

    Reference: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016, section 5.2,
        https://arxiv.org/abs/1509.00519.
    """
    moved = q.mean.var(0) > ACTIVE  # [D]
    return moved.sum().to(q.mean.dtype)


def aggregate_mismatch(q: Distribution) -> Tensor:
    """Return a lower bound of KL(q(z)‖N(0, I)), of the aggregate posterior q(z) = E_x q(z|x), by two moments.

        Σ_j ½ (m_j² + s_j − log s_j − 1),   m_j = E_x E_q[z_j|x],   s_j = Var_x(E_q[z_j|x]) + E_x Var_q[z_j|x]

    m and s are the mean and the variances of q(z), by the law of total variance. That it is a bound, in two steps:

        KL(q(z)‖p) = KL(q(z)‖Π_j q(z_j)) + Σ_j KL(q(z_j)‖p_j),   as p is a product,
        KL(q(z_j)‖p_j) = KL(q(z_j)‖g_j) + KL(g_j‖p_j),   g_j = N(m_j, s_j),

    the second because log g_j/p_j is quadratic in z_j, so that q(z_j), which shares g_j's two moments, gives it the
    same mean (Pythagoras in exponential families). What is left out, the total correlation and the departure of each
    q(z_j) from a Gaussian, is not negative. Zero is attainable: whenever each unit has mean 0 and variance 1, which
    may be far from q(z) = p.

    Estimated from a batch (variances over x are the unbiased ones) it errs upwards: half a nat a number estimated, over
    B, which near N(0, I) is D/B nats where all variance is between examples (0.13 for 16 codes of 128 examples), and
    less where it is within them. The whole matrix of covariances would bound tighter, and err by D(D + 3)/4B. A
    variance below 1e-12 counts as that, which lowers it.

    Args:
        q: batch shape [B], B at least 2, event shape [D]; its mean and variance are looked at, and it may be a `Delta`.

    Returns:
        [], nats, 0 or more.

    Example:
        >>> import torch
        >>> from framework.distributions import DiagonalGaussian
        >>> far = torch.tensor([[-2.0], [2.0], [-2.0], [2.0]])
        >>> aggregate_mismatch(DiagonalGaussian(far, torch.zeros(4, 1)))  # N(0, 19/3): ½ (16/3 − log 19/3)
        tensor(1.7438)

    Reference: Csiszár, "I-Divergence Geometry of Probability Distributions and Minimization Problems", Annals of
        Probability 1975, section 3 (Pythagoras), https://doi.org/10.1214/aop/1176996454; Rosca, Lakshminarayanan &
        Mohamed, "Distribution Matching in Variational Inference", 2018 (the mismatch),
        https://arxiv.org/abs/1802.06847.
    """
    mean = q.mean.mean(0)  # [D]
    variance = (q.mean.var(0) + q.variance.mean(0)).clamp(min=_LEAST_VARIANCE)  # [D]
    return 0.5 * (mean.square() + variance - variance.log() - 1).sum()
