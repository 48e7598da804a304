"""The last layer of an encoder: features → q(z|x)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from framework import OptionError
from framework.discrete import OneHotLogits, check_categories
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian
from framework.precision import at_least_single

PosteriorName = Literal["gaussian", "deterministic", "bernoulli", "categorical"]
ScaleName = Literal["exp", "softplus"]


class Posterior(nn.Module):
    """A linear layer that parametrises q(z|x).

    `gaussian` is N(μ, diag σ²), with σ = exp(a) or σ = softplus(a) of the layer's second half a; `deterministic` is all
    mass on one point, the encoder of a plain autoencoder; `bernoulli` is D bits, `categorical` D/C one-hot variables of
    C categories, by their logits.

    Args:
        features: F, the width of what comes in.
        latent_dim: D.
        posterior: which of them.
        scale: how σ is made positive.
        categories: C, 2 or more, a divisor of D; None for what is not categorical.

    Raises:
        OptionError: there is no latent dimension; the categories do not divide it, or are not for this posterior; a
            scale is asked for that this posterior does not have.

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, appendix C.2, https://arxiv.org/abs/1312.6114.
    """

    def __init__(
        self,
        *,
        features: int,
        latent_dim: int,
        posterior: PosteriorName,
        scale: ScaleName,
        categories: int | None = None,
    ) -> None:
        super().__init__()
        if latent_dim < 1:
            raise OptionError("latent_dim", found=latent_dim, expected="1 or more")
        if posterior == "categorical":
            check_categories(categories, latent_dim)
        elif categories is not None:
            found, expected = f"{categories} with posterior: {posterior}", "null, or posterior: categorical beside it"
            raise OptionError("categories", found=found, expected=expected)
        if scale != "exp" and posterior != "gaussian":
            found = f"{scale} with posterior: {posterior}, which has no σ"
            raise OptionError("scale", found=found, expected="exp, the default, or posterior: gaussian beside it")
        self.posterior, self.scale, self.categories = posterior, scale, categories
        self.linear = nn.Linear(features, 2 * latent_dim if posterior == "gaussian" else latent_dim)

    def forward(self, features: Tensor) -> Distribution:
        """Return q(z|x) for features [B, F]."""
        outputs = at_least_single(self.linear(features))
        if self.posterior == "deterministic":
            return Delta(outputs)
        if self.posterior == "bernoulli":
            return BernoulliLogits(outputs)
        if self.categories is not None:
            return OneHotLogits(outputs.unflatten(-1, (-1, self.categories)))
        mean, raw = outputs.chunk(2, dim=-1)  # [B, D] each
        return DiagonalGaussian(mean, raw if self.scale == "exp" else _log_softplus(raw))


def _log_softplus(raw: Tensor) -> Tensor:
    # softplus underflows to zero below −104 in float32, where its logarithm would be −∞ and the gradient NaN.
    return F.softplus(raw).clamp_min(torch.finfo(raw.dtype).tiny).log()
