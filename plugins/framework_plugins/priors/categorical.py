"""The prior of independent one-hot variables."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framework import Prior, register_prior
from framework.discrete import OneHotLogits, check_categories


@register_prior("categorical")
class Categorical(Prior):
    """D/C independent one-hot variables of C categories, all equally likely unless they are learned.

    Args:
        latent_dim: D, the numbers of all variables in a row.
        categories: C, 2 or more, a divisor of D.
        learned: whether each variable's probabilities are parameters.

    Raises:
        OptionError: the categories do not divide D.
    """

    def __init__(self, *, latent_dim: int, categories: int, learned: bool = False) -> None:
        super().__init__()
        check_categories(categories, latent_dim)
        logits = torch.zeros(latent_dim // categories, categories)  # [G, C]
        self.logits: nn.Parameter | Tensor
        if learned:
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def forward(self) -> OneHotLogits:
        return OneHotLogits(self.logits)
