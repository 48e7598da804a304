"""The decoder that sees the pixels before the one it is at."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Distribution

from framework import AutoregressiveBernoulli, Decoder, MaskedNetwork, register_decoder
from framework.networks import Activation


@register_decoder("autoregressive")
class AutoregressiveDecoder(Decoder):
    """p(x|z) = Π_i p(x_i | x_1 … x_{i−1}, z) for binary pixels, row by row, by a masked autoencoder that z reaches.

    It can model pixels that depend on each other without z, and so ignore it: the posterior collapses onto the prior
    where nothing holds it, which is what some objectives are made against. The likelihood is exact and takes one pass;
    a sample takes one step a pixel.

    The `mean` of this likelihood, which pictures show, is an estimate along one sample with fixed random numbers.

    Args:
        latent_dim: D.
        input_shape: the shape of an example, of any rank and size; for data of zeros and ones.
        hidden: units of each hidden layer.
        activation: the non-linearity after each.

    Raises:
        OptionError: a hidden layer has no unit.

    Example:
        >>> import torch
        >>> decoder = AutoregressiveDecoder(latent_dim=2, input_shape=(1, 4, 4), hidden=[32])
        >>> decoder(torch.zeros(5, 2)).log_prob(torch.ones(5, 1, 4, 4)).shape
        torch.Size([5])

    Reference: Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", 2015,
        https://arxiv.org/abs/1502.03509; why z is ignored, Chen et al., "Variational Lossy Autoencoder", 2017, section
        2, https://arxiv.org/abs/1611.02731.
    """

    def __init__(
        self, *, latent_dim: int, input_shape: tuple[int, ...], hidden: list[int], activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.network = MaskedNetwork(
            elements=math.prod(input_shape), condition=latent_dim, hidden=hidden, activation=activation
        )

    def forward(self, z: Tensor) -> Distribution:
        return AutoregressiveBernoulli(self.network, z, self.input_shape)
