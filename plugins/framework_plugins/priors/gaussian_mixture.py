"""The prior that is a learned mixture of Gaussians."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from framework import OptionError, Prior, register_prior
from framework.distributions import DiagonalGaussian


@register_prior("gaussian_mixture")
class GaussianMixture(Prior):
    """Σ_k π_k N(m_k, diag s_k²), with weights, means and scales learned.

    The KL divergence to a mixture has no closed form: `kl` estimates it by Monte Carlo. A sample has no gradient to the
    mixture's parameters.

    Args:
        latent_dim: D.
        components: K, at least 1.
        spread: the standard deviation of the means' starting values, in the latents' unit.

    Raises:
        OptionError: there is no component, or the spread is negative.

    Reference: Dilokthanakul et al., "Deep Unsupervised Clustering with Gaussian Mixture VAEs", 2016,
        https://arxiv.org/abs/1611.02648, for mixtures as priors.
    """

    def __init__(self, *, latent_dim: int, components: int = 10, spread: float = 1.0) -> None:
        super().__init__()
        if components < 1:
            raise OptionError("components", found=components, expected="1 or more")
        if spread < 0:
            raise OptionError("spread", found=spread, expected="0 or more")
        self.logits = nn.Parameter(torch.zeros(components))  # [K]
        self.means = nn.Parameter(spread * torch.randn(components, latent_dim))  # [K, D]
        self.log_scales = nn.Parameter(torch.zeros(components, latent_dim))  # [K, D]

    def forward(self) -> Distribution:
        weights = Categorical(logits=self.logits, validate_args=False)
        return MixtureSameFamily(weights, DiagonalGaussian(self.means, self.log_scales), validate_args=False)
