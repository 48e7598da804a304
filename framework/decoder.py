"""Decoder: z → p(x|z)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.registry import Registry


class Decoder(nn.Module, ABC):
    """The likelihood: maps latents to a distribution over examples."""

    @abstractmethod
    def forward(self, z: Tensor) -> Distribution:
        """Return p(x|z).

        Args:
            z: [B, D], floating point.

        Returns:
            A distribution with batch shape [B] and event shape `input_shape`. Its `support` says what data it is for.
        """


decoders: Registry[Decoder] = Registry("decoder", Decoder, context=("input_shape", "latent_dim"))
register_decoder = decoders.register
