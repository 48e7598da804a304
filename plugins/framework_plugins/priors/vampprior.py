"""The prior that is the posterior of learned examples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from framework import Encoder, EqualMixture, Facts, OptionError, Prior, register_prior
from framework.distributions import Delta, DiagonalGaussian


@register_prior("vampprior")
class VampPrior(Prior):
    """p(z) = 1/K Σ_k q(z|u_k), the mixture of the posteriors of K learned pseudo-inputs u_k.

    Among all priors the aggregate posterior 1/N Σ_n q(z|x_n) has the best ELBO, and overfits; K ≪ N pseudo-inputs stand
    for the N examples. They are learned with the model, and so is the encoder through them.

    The KL divergence to a mixture has no closed form: `kl` estimates it by Monte Carlo, without bias. A sample has a
    gradient to the pseudo-inputs and to the encoder.

    `unit_interval` holds pseudo-inputs in the range of pixels, u = min(max(a, 0), 1), as the authors do; one that is
    held at an end has no gradient there. `real` leaves them free, for data outside [0, 1]. What a conditional model's
    encoder is shown of a label, behind the example, is free in either.

    The encoder is the learner's: neither its parameters nor its state are this part's. It runs on the K pseudo-inputs
    each time the prior is asked for, once a training step, and as it is then: with dropout in a training step, whose
    draws follow those of the latents.

    Args:
        input_shape: the shape of an example.
        encoder: x → q(z|x), with a density.
        components: K, at least 1.
        range: what pseudo-inputs are held to, `unit_interval` or `real`.
        facts: of the data, [C, …]; None takes all of `input_shape` for data. Supplied by the builder.
        start: the mean of their starting values, in the data's unit.
        spread: the standard deviation of their starting values.

    Raises:
        OptionError: there is no component; data outside [0, 1] under `unit_interval`; the spread is negative, or zero,
            by which all components would stay the same; the encoder is deterministic.

    Example:
        >>> from framework_plugins.encoders.mlp import MLPEncoder
        >>> encoder = MLPEncoder(input_shape=(1, 28, 28), latent_dim=40, hidden=[300])
        >>> prior = VampPrior(input_shape=(1, 28, 28), encoder=encoder, components=500)
        >>> prior().log_prob(torch.zeros(100, 40)).shape
        torch.Size([100])

    Reference: Tomczak & Welling, "VAE with a VampPrior", 2018, equation 9, https://arxiv.org/abs/1705.07120; the
        starting values are of the authors' program.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        encoder: Encoder,
        components: int = 500,
        range_: Literal["unit_interval", "real"] = "unit_interval",
        facts: Facts | None = None,
        start: float = 0.05,
        spread: float = 0.01,
    ) -> None:
        super().__init__()
        if components < 1:
            raise OptionError("components", found=components, expected="1 or more")
        if spread <= 0:
            raise OptionError("spread", found=spread, expected="a number above 0: equal pseudo-inputs would stay equal")
        if range_ == "unit_interval" and facts is not None and facts.values == "real":
            found, expected = "unit_interval, with data outside [0, 1]", "real, or data scaled to [0, 1]"
            raise OptionError("range", found=found, expected=expected, write="range: real")
        # In a tuple, so that torch does not take the encoder for a part of this one: its parameters would be counted,
        # saved and moved twice. A copy of a learner has a prior that refers to the encoder's copy.
        self._lent = (encoder,)
        self.range = range_
        self.width = input_shape[0] if facts is None else facts.input_shape[0]  # C: what comes behind is a label
        self.pseudo_inputs = nn.Parameter(start + spread * torch.randn(components, *input_shape))  # [K, *input_shape]
        with torch.no_grad():
            if isinstance(encoder(self._inputs()[:1]), Delta):
                raise OptionError(
                    "encoder",
                    found="a deterministic posterior, of which a mixture has no density",
                    expected="a posterior with a density beside prior vampprior",
                    write="posterior: gaussian",
                )

    def forward(self) -> Distribution:
        q: Distribution = self._lent[0](self._inputs())  # batch shape [K]
        if isinstance(q, DiagonalGaussian):
            return EqualMixture(q.mean, q.log_scale)
        weights = Categorical(logits=self.pseudo_inputs.new_zeros(len(self.pseudo_inputs)), validate_args=False)
        return MixtureSameFamily(weights, q, validate_args=False)

    def _inputs(self) -> Tensor:
        if self.range == "real":
            return self.pseudo_inputs
        data, label = self.pseudo_inputs[:, : self.width], self.pseudo_inputs[:, self.width :]
        return torch.cat([data.clamp(0, 1), label], dim=1)
