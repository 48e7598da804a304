"""Distributions over actions, in the lean form of `framework.distributions`, and what is left of one when some actions
are not allowed.

Logits may be −∞: such an action has probability zero, and entropy, divergence and their gradients stay finite. All are
built with `validate_args=False`.

Legend: A actions of one choice, −∞ logits included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions.kl import kl_divergence as registered_kl
from torch.distributions.utils import lazy_property

from framework.distributions import DiagonalGaussian, NoClosedForm, SampleShape
from framework.errors import IncompatibleParts, OptionError


class CategoricalLogits(Distribution):
    """One of A actions, 0 to A − 1, by its logits; an action is int64 [*batch].

    Args:
        logits: log π(a) up to a constant, [*batch, A]; −∞ where an action cannot be. At least one is finite.
        probs: π(a), [*batch, A], in place of logits where these are what is known.

    Example:
        >>> CategoricalLogits(torch.tensor([0.0, 0.0, -math.inf])).entropy()  # log 2
        tensor(0.6931)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor | None = None, *, probs: Tensor | None = None) -> None:
        self._by_probs = logits is None
        if logits is not None and probs is None:
            self._parameter = logits
        elif probs is not None and logits is None:
            self.probs = self._parameter = probs
        else:
            raise TypeError("a categorical distribution is given by its logits or by its probs")
        super().__init__(self._parameter.shape[:-1], validate_args=False)

    # Both are computed once, with a graph where the parameter has one, whoever asks first.

    @lazy_property
    def logits(self) -> Tensor:
        """log π, [*batch, A] nats."""
        if not self._by_probs:
            return _log_softmax(self._parameter)
        never = self.probs == 0  # its logarithm would have the gradient 0/0, and takes torch ten times as long
        return self.probs.masked_fill(never, 1.0).log().masked_fill(never, -math.inf)

    @lazy_property
    def probs(self) -> Tensor:
        """π, [*batch, A]."""
        return self.logits.exp()

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self._parameter.shape[-1] - 1)

    @property
    def mode(self) -> Tensor:
        return self._parameter.argmax(-1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        # The inverse of the distribution function, which need not add up to 1: dividing would cost what softmax does.
        # torch.rand is at most 1 − ulp/2, so that the product rounds below the last sum; `right` passes over actions
        # of probability zero, for they add nothing to it.
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            weights = self._weights()
            if not shape and weights.stride(-1) != 1:  # in memory the actions come first: counting takes a third
                first = weights.movedim(-1, 0).cumsum(0)  # [A, *batch]
                uniform = torch.rand(self.batch_shape, dtype=first.dtype, device=first.device)
                return (first <= uniform * first[-1]).sum(0)
            sums = weights.cumsum(-1).contiguous()  # [*batch, A]
            uniform = torch.rand(*self.batch_shape, shape.numel(), dtype=sums.dtype, device=sums.device)
            index = torch.searchsorted(sums, uniform * sums[..., -1:], right=True)  # [*batch, samples]
            return index.squeeze(-1) if not shape else index.movedim(-1, 0).reshape(shape + self.batch_shape)

    def _weights(self) -> Tensor:
        """π up to a factor, [*batch, A]."""
        if self._by_probs:
            return self._parameter
        return (self._parameter - self._parameter.amax(-1, keepdim=True)).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        logits, index = self.logits, value.unsqueeze(-1)
        if logits.dim() != index.dim():  # several actions for each observation
            logits = logits.expand(*value.shape, -1)
        return logits.gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        probability = self.probs
        # p log p → 0 as p → 0; filled in before the product, whose gradient would be 0 · ∞.
        return (probability * self.logits.masked_fill(probability == 0, 0.0)).sum(-1).neg()


class MultiCategorical(Distribution):
    """Several independent choices, each a categorical of its own size; an action is int64 [*batch, choices].

    Args:
        logits: those of the first choice, then of the second, …, [*batch, Σ sizes]; −∞ where an action cannot be.
        sizes: A of each choice.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, sizes: Sequence[int]) -> None:
        self.logits, self.sizes = logits, tuple(sizes)
        count, largest = len(self.sizes), max(self.sizes)
        if min(self.sizes) == largest:
            padded = logits.unflatten(-1, (count, largest))
        else:  # actions that cannot be make all choices equally large
            parts = [F.pad(part, (0, largest - part.shape[-1]), value=-math.inf) for part in _split(logits, self.sizes)]
            padded = torch.stack(parts, dim=-2)
        self.choices = CategoricalLogits(padded)  # of batch shape [*batch, choices]
        super().__init__(logits.shape[:-1], torch.Size((count,)), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        largest = torch.tensor(self.sizes, device=self.logits.device) - 1
        interval = constraints.integer_interval(torch.zeros_like(largest), largest)
        return constraints.independent(interval, 1)

    @property
    def mode(self) -> Tensor:
        return self.choices.mode

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        return self.choices.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.choices.log_prob(value).sum(-1)

    def entropy(self) -> Tensor:
        return self.choices.entropy().sum(-1)


class SquashedGaussian(Distribution):
    """low + (high − low) · (tanh u + 1)/2 with u ~ N(μ, diag σ²): a Gaussian brought into a box.

    log π(a) = log N(u; μ, σ²) − Σ log |∂a/∂u|, u being recovered from a: the density is a function of the action alone,
    so that an action taken long ago has it in the same way as one just drawn. tanh is kept 1 ulp away from ±1, also
    where a is given on the box's edge: beyond |u| ≈ 8.3 in float32, 18 in float64, actions cannot be told apart. The
    entropy has no closed form, and is not implemented. The mode is that of u, brought into the box; the density's own
    is elsewhere.

    Args:
        base: the distribution of u, event shape [*shape].
        low: the box's lower corner, [*shape] or one that broadcasts to it, of the base's type; finite.
        high: its upper corner, above the lower one.

    Reference: Haarnoja et al., "Soft Actor-Critic", 2018, appendix C, https://arxiv.org/abs/1801.01290.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, base: DiagonalGaussian, low: Tensor, high: Tensor) -> None:
        self.base, self.low, self.high = base, low, high
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(self.low, self.high), len(self.event_shape))

    @property
    def mode(self) -> Tensor:
        return self._squash(self.base.mode)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        return self._squash(self.base.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        half = (self.high - self.low) / 2
        u = self._inside((value - self.low) / half - 1).atanh()
        # log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)), which does not cancel for large u.
        stretch = 2 * (math.log(2) - u - F.softplus(-2 * u)) + half.log()
        dimensions = len(self.event_shape)
        return self.base.log_prob(u) - (stretch.flatten(-dimensions).sum(-1) if dimensions else stretch)

    def _squash(self, u: Tensor) -> Tensor:
        scaled = self.low + (self.high - self.low) * (self._inside(u.tanh()) + 1) / 2
        return torch.minimum(torch.maximum(scaled, self.low), self.high)  # roundings may lead out of the box

    @staticmethod
    def _inside(squashed: Tensor) -> Tensor:
        bound = 1 - torch.finfo(squashed.dtype).eps
        return squashed.clamp(-bound, bound)


@register_kl(CategoricalLogits, CategoricalLogits)  # type: ignore[untyped-decorator]
def _categorical_categorical(q: CategoricalLogits, p: CategoricalLogits) -> Tensor:
    # Σ_a q log(q/p), where q = 0 adds nothing; infinite where q has an action that p cannot have.
    probability = q.probs
    return (probability * (q.logits - p.logits).masked_fill(probability == 0, 0.0)).sum(-1)


@register_kl(MultiCategorical, MultiCategorical)  # type: ignore[untyped-decorator]
def _multi_multi(q: MultiCategorical, p: MultiCategorical) -> Tensor:
    return registered_kl(q.choices, p.choices).sum(-1)


@register_kl(SquashedGaussian, SquashedGaussian)  # type: ignore[untyped-decorator]
def _squashed_squashed(q: SquashedGaussian, p: SquashedGaussian) -> Tensor:
    # A bijection changes no divergence: that of the bases, if both are brought into the same box.
    if not (torch.equal(q.low, p.low) and torch.equal(q.high, p.high)):
        raise NoClosedForm
    return registered_kl(q.base, p.base)


@singledispatch
def allowing(distribution: Distribution, action_mask: Tensor) -> Distribution:
    """Return the distribution given that the action is an allowed one: π(a)/Σ π over allowed actions, 0 elsewhere.

    Where every allowed action had probability zero, they are equally likely. Where none is allowed nothing is decided
    (an episode has ended), and all are. `allowing.register` adds types.

    Args:
        distribution: batch shape [*batch].
        action_mask: bool, True where an action is allowed: [*batch, A] of a `CategoricalLogits`, [*batch, Σ sizes] of a
            `MultiCategorical`.

    Returns:
        A distribution of the same type.

    Raises:
        IncompatibleParts: a type whose actions cannot be ruled out one by one; named by the option `policy`.

    Example:
        >>> some = allowing(CategoricalLogits(torch.zeros(3)), torch.tensor([True, False, True]))
        >>> some.probs
        tensor([0.5000, 0.0000, 0.5000])
    """
    name = type(distribution).__name__
    misfit = OptionError(
        "policy",
        found=f"{name}, of which framework.allowing can rule out none",
        expected="a distribution over discrete actions, as the environment says which ones are allowed",
        write=f"@allowing.register({name}) above a function that gives the others probability zero",
    )
    raise IncompatibleParts([misfit])


@allowing.register
def _allowing_categorical(distribution: CategoricalLogits, action_mask: Tensor) -> Distribution:
    return CategoricalLogits(_restricted(distribution.logits, action_mask))


@allowing.register
def _allowing_multi(distribution: MultiCategorical, action_mask: Tensor) -> Distribution:
    sizes = distribution.sizes
    parts = zip(_split(distribution.logits, sizes), _split(action_mask, sizes), strict=True)
    restricted = torch.cat([_restricted(logits, allowed) for logits, allowed in parts], dim=-1)
    return MultiCategorical(restricted, sizes)


def _restricted(logits: Tensor, allowed: Tensor) -> Tensor:
    undecided = ~allowed.any(-1, keepdim=True)
    # The least number instead of −∞: of allowed actions that all have it, none is preferred.
    return logits.clamp_min(torch.finfo(logits.dtype).min).masked_fill(~(allowed | undecided), -math.inf)


def _split(each: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """[*batch, Σ sizes] → [*batch, size] for each size."""
    parts: tuple[Tensor, ...] = each.split(list(sizes), dim=-1)
    return parts


def _log_softmax(logits: Tensor) -> Tensor:
    # torch vectorises along a row of 16 or more, or across rows along another dimension: many short rows, as thousands
    # of bandits have, are 9 times as fast in this way (2000 rows of 10: 24 µs instead of 206; few rows are no faster).
    if logits.dim() > 1 and logits.shape[-1] < 16 and logits.numel() >= 1024:
        return logits.movedim(-1, 0).log_softmax(0).movedim(0, -1)
    return logits.log_softmax(-1)
