"""The residual decoder."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from framework import Decoder, register_decoder
from framework.networks import PointwiseActivation, image_shape
from framework.residual_networks import transposed_resnet
from framework_plugins.decoders.likelihood import Likelihood, LikelihoodName, Sigma, output_shape


@register_decoder("resnet")
class ResNetDecoder(Decoder):
    """Stages of residual blocks with group normalisation, each ending with a larger image, up to the example's size.

    Args:
        latent_dim: D.
        input_shape: (channels, height, width).
        channels: of each stage, from the smallest image to the largest.
        blocks: residual blocks of each stage.
        activation: the non-linearity.
        likelihood: `bernoulli`, `gaussian`, `continuous_bernoulli`, or for images of bytes `categorical` or
            `discretized_logistic`.
        sigma: σ of the Gaussian in the data's unit, or `optimal`, that of the batch's errors; 1 when left out.
        learn_sigma: whether σ is learned.

    Raises:
        ValueError: the examples are no images.
        OptionError: there is no stage, one has no channel, or there are fewer than no blocks.

    Reference: He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", 2016,
        https://arxiv.org/abs/1603.05027.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        input_shape: tuple[int, ...],
        channels: list[int],
        blocks: int = 1,
        activation: PointwiseActivation = "relu",
        likelihood: LikelihoodName = "bernoulli",
        sigma: Sigma = None,
        learn_sigma: bool = False,
    ) -> None:
        super().__init__()
        shape = image_shape(output_shape(input_shape, likelihood))
        self.trunk = transposed_resnet(latent_dim, shape, channels, blocks=blocks, activation=activation)
        self.likelihood = Likelihood(
            input_shape=input_shape, likelihood=likelihood, sigma=sigma, learn_sigma=learn_sigma
        )

    def forward(self, z: Tensor) -> Distribution:
        likelihood: Distribution = self.likelihood(self.trunk(z))
        return likelihood
