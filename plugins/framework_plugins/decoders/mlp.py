"""The decoder of fully connected layers."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.distributions import Distribution

from framework import Decoder, register_decoder
from framework.networks import Activation, Reshape, mlp
from framework_plugins.decoders.likelihood import Likelihood, LikelihoodName, Sigma, output_shape


@register_decoder("mlp")
class MLPDecoder(Decoder):
    """A multilayer perceptron whose outputs are given the example's shape.

    Args:
        latent_dim: D.
        input_shape: the shape of an example, of any rank and size.
        hidden: units of each hidden layer, from the latent's side.
        activation: the non-linearity after each.
        dropout: the share of each hidden layer's units that a training step sets to zero.
        likelihood: `bernoulli`, `gaussian`, `continuous_bernoulli`, or for images of bytes `categorical` or
            `discretized_logistic`.
        sigma: σ of the Gaussian in the data's unit, or `optimal`, that of the batch's errors; 1 when left out.
        learn_sigma: whether σ is learned.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        input_shape: tuple[int, ...],
        hidden: list[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
        likelihood: LikelihoodName = "bernoulli",
        sigma: Sigma = None,
        learn_sigma: bool = False,
    ) -> None:
        super().__init__()
        shape = output_shape(input_shape, likelihood)
        outputs = mlp(latent_dim, hidden, math.prod(shape), activation=activation, dropout=dropout)
        self.trunk = nn.Sequential(outputs, Reshape(shape))
        self.likelihood = Likelihood(
            input_shape=input_shape, likelihood=likelihood, sigma=sigma, learn_sigma=learn_sigma
        )

    def forward(self, z: Tensor) -> Distribution:
        likelihood: Distribution = self.likelihood(self.trunk(z))
        return likelihood
