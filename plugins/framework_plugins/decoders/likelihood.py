"""The last layer of a decoder: one output a pixel → p(x|z)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import ContinuousBernoulli, Distribution, Independent

from framework import OptionError
from framework.distributions import BernoulliLogits, DiagonalGaussian
from framework.precision import at_least_single

LikelihoodName = Literal["bernoulli", "gaussian", "continuous_bernoulli"]


class Likelihood(nn.Module):
    """p(x|z) from outputs of the data's shape, independent over pixels.

    `bernoulli`: the outputs are logits; for data of zeros and ones (on grey pixels it is a cross-entropy and no
    likelihood). `continuous_bernoulli`: the outputs are logits, for data in [0, 1]. `gaussian`: the outputs are means,
    for data of any range, with one σ for all pixels, fixed or learned.

    Args:
        input_shape: the shape of an example.
        likelihood: which of the three.
        sigma: σ of the Gaussian in the data's unit, > 0; the starting value when it is learned.
        learn_sigma: whether σ is a parameter.

    Raises:
        OptionError: σ is not positive, or set for a likelihood that has none.

    Reference: Loaiza-Ganem & Cunningham, "The continuous Bernoulli", 2019, https://arxiv.org/abs/1907.06845.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], likelihood: LikelihoodName, sigma: float | None, learn_sigma: bool
    ) -> None:
        super().__init__()
        self.likelihood, self.event_dimensions = likelihood, len(input_shape)
        if likelihood != "gaussian":
            if sigma is not None or learn_sigma:
                option = "sigma" if sigma is not None else "learn_sigma"
                raise OptionError(
                    option, found=f"set for likelihood {likelihood}", expected="likelihood: gaussian beside it"
                )
            return
        start = 1.0 if sigma is None else sigma
        if start <= 0:
            raise OptionError("sigma", found=start, expected="a number above 0")
        self.log_sigma: nn.Parameter | Tensor
        log_sigma = torch.tensor(math.log(start))
        if learn_sigma:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def forward(self, outputs: Tensor) -> Distribution:
        """Return p(x|z) for outputs [B, *input_shape]."""
        outputs = at_least_single(outputs)
        if self.likelihood == "bernoulli":
            return BernoulliLogits(outputs, self.event_dimensions)
        if self.likelihood == "continuous_bernoulli":
            return Independent(
                ContinuousBernoulli(logits=outputs, validate_args=False), self.event_dimensions, validate_args=False
            )
        return DiagonalGaussian(outputs, self.log_sigma, self.event_dimensions)
