"""The encoder of fully connected layers."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.distributions import Distribution

from framework import Encoder, register_encoder
from framework.networks import Activation, mlp
from framework_plugins.encoders.posterior import Posterior, PosteriorName, ScaleName


@register_encoder("mlp")
class MLPEncoder(Encoder):
    """A multilayer perceptron on the flattened example.

    Args:
        input_shape: the shape of an example, of any rank and size.
        latent_dim: D.
        hidden: units of each hidden layer.
        activation: the non-linearity after each.
        dropout: the share of each hidden layer's units that a training step sets to zero.
        posterior: `gaussian`; `deterministic`, a plain autoencoder's; `bernoulli` or `categorical`, discrete latents.
        scale: how a Gaussian's σ is made positive, `exp` or `softplus`.
        categories: of each one-hot variable of a categorical posterior; a divisor of latent_dim.

    Example:
        >>> import torch
        >>> encoder = MLPEncoder(input_shape=(1, 8, 8), latent_dim=2, hidden=[32])
        >>> encoder(torch.zeros(5, 1, 8, 8)).rsample().shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        latent_dim: int,
        hidden: list[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
        posterior: PosteriorName = "gaussian",
        scale: ScaleName = "exp",
        categories: int | None = None,
    ) -> None:
        super().__init__()
        pixels = math.prod(input_shape)
        self.trunk = nn.Sequential(nn.Flatten(), mlp(pixels, hidden, activation=activation, dropout=dropout))
        self.posterior = Posterior(
            features=[pixels, *hidden][-1],
            latent_dim=latent_dim,
            posterior=posterior,
            scale=scale,
            categories=categories,
        )

    def forward(self, x: Tensor) -> Distribution:
        posterior: Distribution = self.posterior(self.trunk(x))
        return posterior
