"""The uniform prior."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import OptionError, Prior, UniformBox, register_prior


@register_prior("uniform")
class Uniform(Prior):
    """U(−a, a)^D, for divergences of samples: mmd, sliced_wasserstein, adversarial.

    A Gaussian posterior has mass outside every box, so its KL divergence to this prior is infinite: `kl` is refused.

    Args:
        latent_dim: D.
        bound: a > 0, in the latents' unit.

    Raises:
        OptionError: the bound is not positive.

    Reference: Makhzani et al., "Adversarial Autoencoders", 2016, https://arxiv.org/abs/1511.05644, for priors that are
        sampled alone.
    """

    def __init__(self, *, latent_dim: int, bound: float = 1.0) -> None:
        super().__init__()
        if bound <= 0:
            raise OptionError("bound", found=bound, expected="a number above 0")
        self.latent_dim, self.bound = latent_dim, bound
        self.like: Tensor
        self.register_buffer("like", torch.zeros(()), persistent=False)  # follows the module's device and type

    def forward(self) -> UniformBox:
        return UniformBox(self.latent_dim, self.bound, self.like)
