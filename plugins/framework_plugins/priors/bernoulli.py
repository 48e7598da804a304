"""The prior of independent bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from framework import OptionError, Prior, register_prior
from framework.distributions import BernoulliLogits


@register_prior("bernoulli")
class Bernoulli(Prior):
    """D independent bits, each 1 with probability π.

    Args:
        latent_dim: D.
        probability: π, in (0, 1); where it is learned, what it starts from.
        learned: whether each bit's π is a parameter.

    Raises:
        OptionError: the probability is not between 0 and 1.
    """

    def __init__(self, *, latent_dim: int, probability: float = 0.5, learned: bool = False) -> None:
        super().__init__()
        if not 0 < probability < 1:
            raise OptionError("probability", found=probability, expected="a number between 0 and 1, neither included")
        logits = torch.full((latent_dim,), math.log(probability / (1 - probability)))  # [D]
        self.logits: nn.Parameter | Tensor
        if learned:
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def forward(self) -> BernoulliLogits:
        return BernoulliLogits(self.logits)
