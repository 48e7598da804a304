"""The standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import Prior, register_prior
from framework.distributions import StandardNormal as StandardNormalDistribution


@register_prior("standard_normal")
class StandardNormal(Prior):
    """N(0, I) in D dimensions.

    Args:
        latent_dim: D.
    """

    def __init__(self, *, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.like: Tensor
        self.register_buffer("like", torch.zeros(()), persistent=False)  # follows the module's device and type

    def forward(self) -> StandardNormalDistribution:
        return StandardNormalDistribution(self.latent_dim, self.like)
