"""Discrete latents: one-hot variables, and draws of bits and one-hot variables that have a gradient.

Legend: B batch, G variables, C categories of each, D = G·C numbers of a latent.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily, constraints, register_kl

from framework.distributions import BernoulliLogits, SampleShape
from framework.errors import IncompatibleParts, OptionError


class OneHotLogits(Distribution):
    """G independent categorical variables, each one-hot over C categories; an event is all of them in a row, [G·C].

    Args:
        logits: log probabilities up to a constant for each variable, [*batch, G, C].

    Example:
        >>> OneHotLogits(torch.zeros(3, 4, 5)).event_shape
        torch.Size([20])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.log_softmax(-1)  # normalised, [*batch, G, C]
        *batch, variables, categories = logits.shape
        super().__init__(torch.Size(batch), torch.Size((variables * categories,)), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, 1)

    @property
    def mean(self) -> Tensor:
        return self.logits.exp().flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    @property
    def mode(self) -> Tensor:
        return self._one_hot(self.logits.argmax(-1)).flatten(-2)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        # The largest of log p + Gumbel noise is distributed as p: a draw that is made row by row.
        with torch.no_grad():
            noisy = self.logits + _gumbel(torch.Size(sample_shape) + self.logits.shape, self.logits)
            return self._one_hot(noisy.argmax(-1)).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.logits.flatten(-2) * value).sum(-1)

    def entropy(self) -> Tensor:
        return -(self.logits.exp() * self.logits).flatten(-2).sum(-1)

    def _one_hot(self, index: Tensor) -> Tensor:
        return F.one_hot(index, self.logits.shape[-1]).to(self.logits.dtype)


def check_categories(categories: int | None, latent_dim: int) -> None:
    """Check that latents of D numbers are one-hot variables of C categories.

    Raises:
        OptionError: they are not.
    """
    if categories is None or categories < 2 or latent_dim % categories:
        raise OptionError(
            "categories",
            found="none" if categories is None else f"{categories} with latent_dim {latent_dim}",
            expected="2 or more for each one-hot variable, a divisor of latent_dim",
            write="categories: 10, and latent_dim: 100 for ten variables",
        )


def categories_of(distribution: Distribution) -> int | None:
    """Return the categories C of each of its one-hot variables, also of a mixture; None where it is of none."""
    if isinstance(distribution, MixtureSameFamily):
        return categories_of(distribution.component_distribution)
    return distribution.logits.shape[-1] if isinstance(distribution, OneHotLogits) else None


def most_information(q: Distribution) -> float:
    """Return the most nats that a sample can carry, the logarithm of how many values it has; ∞ of real numbers.

    Example:
        >>> round(most_information(BernoulliLogits(torch.zeros(4, 3))), 2)  # 3 log 2
        2.08
    """
    if isinstance(q, OneHotLogits):
        variables, categories = q.logits.shape[-2:]
        return variables * math.log(categories)
    return q.event_shape.numel() * math.log(2) if isinstance(q, BernoulliLogits) else math.inf


@register_kl(OneHotLogits, OneHotLogits)
def _one_hot_one_hot(q: OneHotLogits, p: OneHotLogits) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).flatten(-2).sum(-1)


def is_discrete(distribution: Distribution) -> bool | None:
    """Return whether its values are bits or one-hot variables; None where it does not say."""
    try:
        support: constraints.Constraint = distribution.support  # type: ignore[assignment]
    except NotImplementedError:  # torch's answer where a distribution has no support written down
        return None
    return support.is_discrete


def code_of(q: Distribution) -> Tensor:
    """Return the latents that stand for the examples, [B, D]: the posterior's mean, of discrete latents the mode."""
    return q.mode if is_discrete(q) else q.mean


@singledispatch
def relaxed(q: Distribution, temperature: float) -> Tensor:
    """Return a draw between the values of a discrete q, with a gradient to its parameters.

    Bits become sigmoid((l + L)/τ), with l the logit and L logistic noise; one-hot variables softmax((log p + G)/τ),
    with Gumbel noise G. As τ → 0 they become draws of q, and the gradient's variance grows; for τ > 0 the gradient is
    biased.
    `relaxed.register` adds distributions.

    Args:
        q: batch shape [B], event shape [D].
        temperature: τ > 0, without unit.

    Returns:
        [B, D], in (0, 1).

    Raises:
        IncompatibleParts: a distribution that no function relaxes.

    Example:
        >>> draws = relaxed(BernoulliLogits(torch.zeros(4, 2)), 0.5)
        >>> bool(((0 < draws) & (draws < 1)).all())
        True

    Reference: Maddison, Mnih & Teh, "The Concrete Distribution", 2017, https://arxiv.org/abs/1611.00712; Jang, Gu &
        Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017, https://arxiv.org/abs/1611.01144.
    """
    raise IncompatibleParts(
        [
            OptionError(
                "estimator",
                found=f"pathwise, with a {type(q).__name__} that has no reparametrised draw",
                expected="a posterior that can be relaxed",
                write="estimator: score_function",
            )
        ]
    )


@relaxed.register
def _relaxed_bits(q: BernoulliLogits, temperature: float) -> Tensor:
    uniform = _open_uniform(q.logits.shape, q.logits)
    return torch.sigmoid((q.logits + uniform.log() - torch.log1p(-uniform)) / temperature)


@relaxed.register
def _relaxed_one_hot(q: OneHotLogits, temperature: float) -> Tensor:
    return ((q.logits + _gumbel(q.logits.shape, q.logits)) / temperature).softmax(-1).flatten(-2)


def straight_through(q: Distribution) -> Tensor:
    """Return a draw of a discrete q whose gradient is that of q's mean: z + (E z − E z held constant).

    The value is a true draw; the gradient is biased, unless what follows is linear in z.

    Args:
        q: batch shape [B], event shape [D], with a mean.

    Returns:
        [B, D], values of q.

    Reference: Bengio, Léonard & Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013,
        https://arxiv.org/abs/1308.3432.
    """
    return q.sample() + (q.mean - q.mean.detach())


def _gumbel(shape: torch.Size, like: Tensor) -> Tensor:
    return -(-_open_uniform(shape, like).log()).log()


def _open_uniform(shape: torch.Size, like: Tensor) -> Tensor:
    """Return uniform numbers in (0, 1): neither end has a finite logit."""
    limits = torch.finfo(like.dtype)
    return torch.rand(shape, dtype=like.dtype, device=like.device).clamp(limits.tiny, 1 - limits.eps)
