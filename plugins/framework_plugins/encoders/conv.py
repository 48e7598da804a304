"""The convolutional encoder."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from framework import Encoder, register_encoder
from framework.networks import Activation, conv, conv_features, image_shape
from framework_plugins.encoders.posterior import Posterior, PosteriorName, ScaleName


@register_encoder("conv")
class ConvEncoder(Encoder):
    """Convolutions of stride 2 on images of any size; each layer halves the sides, rounding up.

    Args:
        input_shape: (channels, height, width).
        latent_dim: D.
        channels: of each layer.
        activation: the non-linearity after each.
        posterior: `gaussian`; `deterministic`, a plain autoencoder's; `bernoulli` or `categorical`, discrete latents.
        scale: how a Gaussian's σ is made positive, `exp` or `softplus`.
        categories: of each one-hot variable of a categorical posterior; a divisor of latent_dim.

    Raises:
        ValueError: the examples are no images.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        latent_dim: int,
        channels: list[int],
        activation: Activation = "relu",
        posterior: PosteriorName = "gaussian",
        scale: ScaleName = "exp",
        categories: int | None = None,
    ) -> None:
        super().__init__()
        image = image_shape(input_shape)
        self.trunk = conv(image, channels, activation=activation)
        self.posterior = Posterior(
            features=conv_features(image, channels),
            latent_dim=latent_dim,
            posterior=posterior,
            scale=scale,
            categories=categories,
        )

    def forward(self, x: Tensor) -> Distribution:
        posterior: Distribution = self.posterior(self.trunk(x))
        return posterior
