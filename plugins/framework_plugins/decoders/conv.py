"""The decoder of transposed convolutions."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from framework import Decoder, register_decoder
from framework.networks import Activation, image_shape, transposed_conv
from framework_plugins.decoders.likelihood import Likelihood, LikelihoodName, Sigma, output_shape


@register_decoder("conv")
class ConvDecoder(Decoder):
    """Transposed convolutions of stride 2 that end at the example's size, whatever it is.

    Args:
        latent_dim: D.
        input_shape: (channels, height, width).
        channels: of each layer's input, from the smallest image to the largest.
        activation: the non-linearity between layers.
        likelihood: `bernoulli`, `gaussian`, `continuous_bernoulli`, or for images of bytes `categorical` or
            `discretized_logistic`.
        sigma: σ of the Gaussian in the data's unit, or `optimal`, that of the batch's errors; 1 when left out.
        learn_sigma: whether σ is learned.

    Raises:
        ValueError: the examples are no images.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        input_shape: tuple[int, ...],
        channels: list[int],
        activation: Activation = "relu",
        likelihood: LikelihoodName = "bernoulli",
        sigma: Sigma = None,
        learn_sigma: bool = False,
    ) -> None:
        super().__init__()
        shape = image_shape(output_shape(input_shape, likelihood))
        self.trunk = transposed_conv(latent_dim, shape, channels, activation=activation)
        self.likelihood = Likelihood(
            input_shape=input_shape, likelihood=likelihood, sigma=sigma, learn_sigma=learn_sigma
        )

    def forward(self, z: Tensor) -> Distribution:
        likelihood: Distribution = self.likelihood(self.trunk(z))
        return likelihood
