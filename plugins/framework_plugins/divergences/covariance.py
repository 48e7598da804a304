"""The distance of the latents' covariance from the identity (DIP-VAE)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal

from framework import Divergence, OptionError, register_divergence
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian


@register_divergence("covariance")
class Covariance(Divergence):
    """λ_od · Σ_{i≠j} C_ij² + λ_d · Σ_i (C_ii − 1)², for a covariance C of the latents, [D, D].

        i:    C = Cov_x[μ(x)]                      of the posteriors' means (DIP-VAE-I)
        ii:   C = Cov_x[μ(x)] + E_x[Σ(x)]          of the aggregate posterior q(z) (DIP-VAE-II)

    μ(x) and Σ(x) are the mean and the covariance of q(z|x). Cov_x is the batch's, Σ_b (μ_b − μ̄)(μ_b − μ̄)ᵀ/(B − 1),
    unbiased; its squares are not: each is too great by the variance of C_ij, which is (1 + [i = j])/(B − 1) for means
    drawn from N(0, I). Zero is attained where the batch's C is exactly I. No unit. Neither z nor p is asked: the prior
    is taken to be of covariance I, and nothing holds the mean, so that it belongs beside `kl: {weight: 1}`.

    It is no divergence of distributions: q(z) may have the covariance I and be far from the prior. With `i`, the means
    alone are to have the variance 1, so that q(z) has a greater one.

    Time B·D², memory D².

    Args:
        kind: i or ii.
        off_diagonal: λ_od, 0 or more.
        diagonal: λ_d, 0 or more; by default 10 · λ_od for i and λ_od for ii, as in the paper.

    Raises:
        OptionError: a coefficient is negative, or both are 0.

    Example:
        >>> import torch
        >>> mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])  # C = 4/3 · I
        >>> q = DiagonalGaussian(mean, torch.full((4, 2), -50.0))
        >>> Covariance(kind="ii")(q, q, mean)
        tensor(0.2222)

    Oracle: numpy's covariance, and coefficients by hand; the linear-Gaussian model, whose covariances are known.

    Reference: Kumar, Sattigeri & Balakrishnan, "Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations", 2018, equations 5 to 7, https://arxiv.org/abs/1711.00848.
    """

    aggregate = True

    def __init__(self, *, kind: Literal["i", "ii"], off_diagonal: float = 1.0, diagonal: float | None = None) -> None:
        super().__init__()
        if diagonal is None:
            diagonal = 10 * off_diagonal if kind == "i" else off_diagonal
        for name, value in (("off_diagonal", off_diagonal), ("diagonal", diagonal)):
            if not value >= 0:
                raise OptionError(name, found=f"{value:g}", expected="0 or more: it rewards no correlation")
        if off_diagonal == diagonal == 0:
            raise OptionError("off_diagonal", found="0, beside diagonal: 0", expected="one of the two above 0")
        self.kind, self.off_diagonal, self.diagonal = kind, off_diagonal, diagonal
        of = "the posteriors' means" if kind == "i" else "the aggregate posterior"
        self.estimator = f"covariance of {of}; {off_diagonal:g} off the diagonal, {diagonal:g} on it"

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        """Return the weighted sum of squares, [] without unit.

        Raises:
            ValueError: a batch of one example, or (ii) a posterior whose covariance is not known.
        """
        mean = q.mean  # [B, D]
        if len(mean) < 2:
            raise ValueError(
                "covariance: a covariance over examples expects a batch of 2 or more, found 1; "
                "write a larger data.batch_size"
            )
        centred = mean - mean.mean(0)
        covariance = centred.T @ centred / (len(mean) - 1)  # [D, D]
        if self.kind == "ii":
            covariance = covariance + mean_covariance(q)
        on = covariance.diagonal()  # [D]
        off = covariance - on.diag()
        return self.off_diagonal * off.square().sum() + self.diagonal * (on - 1).square().sum()


def mean_covariance(q: Distribution) -> Tensor:
    """Return E_x[Σ(x)], the mean over the batch of the posteriors' covariances: batch shape [B], event [D] → [D, D].

    Raises:
        ValueError: a posterior whose covariance is not known: its dimensions may depend on each other.

    Example:
        >>> import torch
        >>> mean_covariance(DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2)))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if isinstance(q, MultivariateNormal | LowRankMultivariateNormal):
        full: Tensor = q.covariance_matrix.mean(0)
        return full
    univariate = isinstance(q, Independent) and not q.base_dist.event_shape
    if len(q.event_shape) == 1 and (univariate or isinstance(q, DiagonalGaussian | BernoulliLogits | Delta)):
        return q.variance.mean(0).diag()
    raise ValueError(
        "covariance: kind: ii expects a posterior whose covariance is known: DiagonalGaussian, BernoulliLogits, Delta, "
        f"MultivariateNormal or Independent(…, 1) of univariate ones; found {type(q).__name__!r}; write kind: i"
    )
