"""The Kullback–Leibler divergence."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from framework import Divergence, register_divergence
from framework.distributions import closed_form_kl


@register_divergence("kl")
class KL(Divergence):
    """KL(q‖p) = E_q[log q(z) − log p(z)] of each example, in nats.

    In closed form where `torch.distributions.register_kl` has one (a Gaussian and the standard normal:
    ½ Σ_j (μ_j² + σ_j² − log σ_j² − 1)), otherwise by Monte Carlo from the sample z, which is unbiased and may be
    negative; `estimator` says which. Summed over the latent dimensions, never averaged. Zero exactly when q = p.

    Not to be confused with KL(q(z)‖p) of the aggregate posterior: the mean of this over x is that plus I(x;z).

    Returns:
        [B] nats.

    Example:
        >>> import torch
        >>> from framework import DiagonalGaussian, StandardNormal
        >>> mean = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
        >>> KL()(DiagonalGaussian(mean, torch.zeros(2)), StandardNormal(2, mean), mean)
        tensor([0.0000, 2.5000])

    Oracle: `torch.distributions.kl_divergence`, example by example in float64; of the Monte Carlo estimate, the ratio
        of two Gaussian densities by hand.

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, appendix B, https://arxiv.org/abs/1312.6114.
    """

    strict = True
    needs_density = True
    decomposition: ClassVar[dict[str, float]] = {"I(x;z)": 1.0, "KL(q(z)‖p)": 1.0}

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        exact = closed_form_kl(q, p)
        self.estimator = "Monte Carlo, one sample" if exact is None else "closed form"
        return q.log_prob(z) - p.log_prob(z) if exact is None else exact
