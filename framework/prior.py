"""Prior: → p(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn
from torch.distributions import Distribution

from framework.registry import Registry


class Prior(nn.Module, ABC):
    """The distribution that latents are held to, and that new examples are drawn from."""

    @abstractmethod
    def forward(self) -> Distribution:
        """Return p(z), with batch shape () and event shape [D]."""


priors: Registry[Prior] = Registry("prior", Prior, context=("latent_dim", "input_shape", "encoder", "facts"))
register_prior = priors.register
