"""The last layer of a decoder: one or more outputs a value → p(x|z)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import ContinuousBernoulli, Distribution, Independent

from framework import CategoricalPixels, DiscretizedLogistic, OptimalGaussian, OptimalVariance, OptionError
from framework.distributions import BernoulliLogits, DiagonalGaussian
from framework.precision import at_least_single

LikelihoodName = Literal["bernoulli", "gaussian", "continuous_bernoulli", "categorical", "discretized_logistic"]
Sigma = float | Literal["optimal"] | None

_OUTPUTS = {"categorical": 256, "discretized_logistic": 2}  # for each value; of the others, one
_LEAST_LOG_SCALE = -7.0  # PixelCNN++'s, of values in [−1, 1]


class Likelihood(nn.Module):
    """p(x|z) from a decoder's outputs, independent over pixels.

    `bernoulli`: the outputs are logits; for data of zeros and ones (on grey pixels it is a cross-entropy and no
    likelihood). `continuous_bernoulli`: the outputs are logits, for data in [0, 1]. `gaussian`: the outputs are means,
    for data of any range, with one σ for all pixels: fixed, learned, or `optimal`, σ² = the mean of the squared errors.

    Two are for images of bytes, x = k/255, whose log-probabilities they are; what lies between two levels is taken for
    the nearer one. `categorical`: 256 logits a value. `discretized_logistic`: an output m for the mean and one for the
    scale, μ = (m + 1)/2 and log s = max(a, −7) − log 2, so that outputs of zero are a mid-grey of half the range.

    The optimal σ is the batch's own in training, by which a batch's likelihood is a little higher than σ fixed before
    would make it, and an average over the last batches in evaluation. It is a statistic of the batch, which several
    processes and microbatches do not have.

    Args:
        input_shape: the shape of an example.
        likelihood: which of the five.
        sigma: σ of the Gaussian in the data's unit, > 0, the starting value when it is learned; or `optimal`. 1 when
            left out.
        learn_sigma: whether σ is a parameter.

    Raises:
        OptionError: σ is not positive, set for a likelihood that has none, or both optimal and learned.

    Reference: Loaiza-Ganem & Cunningham, "The continuous Bernoulli", 2019, https://arxiv.org/abs/1907.06845; of the
        others, see their distributions.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], likelihood: LikelihoodName, sigma: Sigma, learn_sigma: bool
    ) -> None:
        super().__init__()
        self.likelihood, self.event_dimensions = likelihood, len(input_shape)
        self.optimal = OptimalVariance() if sigma == "optimal" else None
        if likelihood != "gaussian":
            if sigma is not None or learn_sigma:
                option = "sigma" if sigma is not None else "learn_sigma"
                raise OptionError(
                    option, found=f"set for likelihood {likelihood}", expected="likelihood: gaussian beside it"
                )
            return
        if sigma == "optimal":
            if learn_sigma:
                raise OptionError("learn_sigma", found="true beside sigma: optimal", expected="one of the two")
            return
        start = 1.0 if sigma is None else sigma
        if start <= 0:
            raise OptionError("sigma", found=start, expected="a number above 0, or optimal")
        self.log_sigma: nn.Parameter | Tensor
        log_sigma = torch.tensor(math.log(start))
        if learn_sigma:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def forward(self, outputs: Tensor) -> Distribution:
        """Return p(x|z) for outputs [B, *output_shape]."""
        outputs = at_least_single(outputs)
        if self.likelihood == "bernoulli":
            return BernoulliLogits(outputs, self.event_dimensions)
        if self.likelihood == "continuous_bernoulli":
            return Independent(
                ContinuousBernoulli(logits=outputs, validate_args=False), self.event_dimensions, validate_args=False
            )
        if self.likelihood == "gaussian":
            if self.optimal is not None:
                return OptimalGaussian(outputs, self.optimal, self.event_dimensions)
            return DiagonalGaussian(outputs, self.log_sigma, self.event_dimensions)
        # [B, n·C, …] → [B, n, C, …]
        outputs = outputs.unflatten(1, (_OUTPUTS[self.likelihood], -1))
        if self.likelihood == "categorical":
            return CategoricalPixels(outputs, self.event_dimensions)
        mean, raw = outputs.unbind(1)
        log_scale = raw.clamp_min(_LEAST_LOG_SCALE) - math.log(2)
        return DiscretizedLogistic((mean + 1) / 2, log_scale, self.event_dimensions)


def output_shape(input_shape: tuple[int, ...], likelihood: LikelihoodName) -> tuple[int, ...]:
    """Return the shape of what a decoder puts out for an example: its own, with n channels for each of its channels."""
    return (_OUTPUTS.get(likelihood, 1) * input_shape[0], *input_shape[1:])
