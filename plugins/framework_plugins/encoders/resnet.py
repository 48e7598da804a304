"""The residual encoder."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from framework import Encoder, register_encoder
from framework.networks import PointwiseActivation, conv_features, image_shape
from framework.residual_networks import resnet
from framework_plugins.encoders.posterior import Posterior, PosteriorName, ScaleName


@register_encoder("resnet")
class ResNetEncoder(Encoder):
    """Stages of residual blocks with group normalisation, on images of any size; each stage halves the sides.

    Args:
        input_shape: (channels, height, width).
        latent_dim: D.
        channels: of each stage.
        blocks: residual blocks of each stage.
        activation: the non-linearity.
        posterior: `gaussian`; `deterministic`, of a plain autoencoder; for discrete latents `bernoulli`, `categorical`.
        scale: how a Gaussian's σ is made positive, `exp` or `softplus`.
        categories: of each one-hot variable of a categorical posterior; a divisor of latent_dim.

    Raises:
        ValueError: the examples are no images.
        OptionError: there is no stage, one has no channel, or there are fewer than no blocks.

    Reference: He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", 2016,
        https://arxiv.org/abs/1603.05027.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        latent_dim: int,
        channels: list[int],
        blocks: int = 1,
        activation: PointwiseActivation = "relu",
        posterior: PosteriorName = "gaussian",
        scale: ScaleName = "exp",
        categories: int | None = None,
    ) -> None:
        super().__init__()
        image = image_shape(input_shape)
        self.trunk = resnet(image, channels, blocks=blocks, activation=activation)
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
