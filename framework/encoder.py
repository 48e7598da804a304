"""Encoder: x → q(z|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.registry import Registry


class Encoder(nn.Module, ABC):
    """The approximate posterior: maps examples to a distribution over latents."""

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        """Return q(z|x).

        Args:
            x: [B, *input_shape], floating point.

        Returns:
            A distribution with batch shape [B] and event shape [D]; reparametrised, so that `rsample` has a gradient.
        """


encoders: Registry[Encoder] = Registry("encoder", Encoder, context=("input_shape", "latent_dim", "facts"))
register_encoder = encoders.register
