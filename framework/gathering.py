"""The rows, and the distributions, of all processes that train together.

What depends on the whole batch is computed by every process from all rows. Each adds the whole gradient to each row, so
that the sum over W processes is W times it, and the average that DistributedDataParallel takes is right.

Legend: W processes, B rows of the whole batch, b = B/W rows here, D latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Distribution,
    Gamma,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Transform,
    TransformedDistribution,
)

from framework.action_distributions import CategoricalLogits, MultiCategorical, SquashedGaussian
from framework.discrete import OneHotLogits
from framework.distributed import all_gather, reduce_scatter, world_size
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian
from framework.errors import IncompatibleParts, OptionError


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of all processes, with a gradient to those of this one.

    Its derivative is the sum over processes of the gradients of the rows that came from here: right where every process
    computes the same from all rows and gradients are then averaged. May be differentiated again. One collective for all
    tensors of a dtype and device.

    Args:
        tensors: [b, ...] each, b and the other sizes the same on every process.

    Returns:
        [W·b, ...] each, in rank order; the tensors themselves when W = 1.
    """
    if world_size() == 1:
        return tensors
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(index)
    gathered = list(tensors)
    for indices in kinds.values():
        columns = [tensors[index].reshape(len(tensors[index]), -1) for index in indices]
        rows: Tensor = _Gather.apply(torch.cat(columns, dim=1))  # type: ignore[no-untyped-call]
        for index, part in zip(indices, rows.split([column.shape[1] for column in columns], dim=1), strict=True):
            gathered[index] = part.reshape(-1, *tensors[index].shape[1:])
    return tuple(gathered)


class _Gather(torch.autograd.Function):
    """[b, N] here → [W·b, N] of all processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return all_gather(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Scatter.apply(gradient)  # type: ignore[no-untyped-call]


class _Scatter(torch.autograd.Function):
    """The transpose of `_Gather`: [W·b, N] on each process → the own rows [b, N] of their sum."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> Tensor:
        return reduce_scatter(whole)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Gather.apply(gradient)  # type: ignore[no-untyped-call]


@singledispatch
def gather(distribution: Distribution) -> Distribution:
    """Return the distribution of the whole batch, from each process's rows.

    Its parameters are `gather_rows` of the distribution's; those that broadcast are expanded to the rows first. On one
    process it is an equal distribution. `gather.register` adds types; a subclass of a known type needs a function of
    its own, for its base's would forget what it adds.

    The transforms of a `TransformedDistribution` are taken over as they are and assumed to hold for every example
    alike: one with parameters for each example in an attribute (an `AffineTransform` by an encoder's outputs) is
    refused, one that hides them in a closure or in a module would be wrong. The temperature of a
    `RelaxedOneHotCategorical` is one for all examples, as its density needs.

    Args:
        distribution: batch shape [b, ...], b the same on every process.

    Returns:
        Batch shape [W·b, ...], of the same type and event shape; it does not check its arguments.

    Raises:
        IncompatibleParts: a type that no function gathers, a batch shape (), a transform with parameters for each
            example; named by the option `encoder`, whose output this is.

    Example:
        >>> gather(DiagonalGaussian(torch.zeros(4, 2), torch.zeros(2))).batch_shape
        torch.Size([4])
    """
    raise _ungatherable(distribution)


def _ungatherable(distribution: Distribution) -> IncompatibleParts:
    name = type(distribution).__name__
    return _misfit(
        found=f"{name}, which no function gathers",
        expected="a distribution that framework.gather knows",
        write=f"@gather.register({name}) above a function that builds it from gather_rows of its parameters",
    )


def _misfit(*, found: str, expected: str, write: str) -> IncompatibleParts:
    return IncompatibleParts([OptionError("encoder", found=found, expected=expected, write=write)])


_Gatherer = Callable[[Any], Distribution]


def _gathers(kind: type[Distribution]) -> Callable[[_Gatherer], _Gatherer]:
    """Register a function for exactly this type: `Gumbel` is a `TransformedDistribution`, by transforms of its own."""

    def register(function: _Gatherer) -> _Gatherer:
        def exactly(distribution: Distribution) -> Distribution:
            if type(distribution) is not kind:
                raise _ungatherable(distribution)
            if not distribution.batch_shape:
                raise _misfit(
                    found=f"{kind.__name__} of batch shape ()",
                    expected="one distribution for each example, batch shape [B]",
                    write="parameters whose first dimension is the examples",
                )
            return function(distribution)

        gather.register(kind, exactly)
        return function

    return register


@_gathers(DiagonalGaussian)
def _diagonal_gaussian(q: DiagonalGaussian) -> Distribution:
    mean, log_scale = gather_rows(q.mean, q.log_scale.expand_as(q.mean))
    return DiagonalGaussian(mean, log_scale, len(q.event_shape))


@_gathers(BernoulliLogits)
def _bernoulli_logits(q: BernoulliLogits) -> Distribution:
    (logits,) = gather_rows(q.logits)
    return BernoulliLogits(logits, len(q.event_shape))


@_gathers(OneHotLogits)
def _one_hot_logits(q: OneHotLogits) -> Distribution:
    (logits,) = gather_rows(q.logits)
    return OneHotLogits(logits)


@_gathers(CategoricalLogits)
def _categorical_logits(q: CategoricalLogits) -> Distribution:
    (logits,) = gather_rows(q.logits)
    return CategoricalLogits(logits)


@_gathers(MultiCategorical)
def _multi_categorical(q: MultiCategorical) -> Distribution:
    (logits,) = gather_rows(q.logits)
    return MultiCategorical(logits, q.sizes)


@_gathers(SquashedGaussian)
def _squashed_gaussian(q: SquashedGaussian) -> Distribution:
    return SquashedGaussian(cast(DiagonalGaussian, gather(q.base)), q.low, q.high)


@_gathers(Delta)
def _delta(q: Delta) -> Distribution:
    (value,) = gather_rows(q.value)
    return Delta(value, len(q.event_shape))


@_gathers(Normal)
def _normal(q: Normal) -> Distribution:
    loc, scale = gather_rows(q.loc, q.scale)
    return Normal(loc, scale, validate_args=False)


@_gathers(Laplace)
def _laplace(q: Laplace) -> Distribution:
    loc, scale = gather_rows(q.loc, q.scale)
    return Laplace(loc, scale, validate_args=False)


@_gathers(Gamma)
def _gamma(q: Gamma) -> Distribution:
    concentration, rate = gather_rows(q.concentration, q.rate)
    return Gamma(concentration, rate, validate_args=False)


@_gathers(Beta)
def _beta(q: Beta) -> Distribution:
    concentration1, concentration0 = gather_rows(q.concentration1, q.concentration0)
    return Beta(concentration1, concentration0, validate_args=False)


@_gathers(Dirichlet)
def _dirichlet(q: Dirichlet) -> Distribution:
    (concentration,) = gather_rows(q.concentration)
    return Dirichlet(concentration, validate_args=False)


@_gathers(MultivariateNormal)
def _multivariate_normal(q: MultivariateNormal) -> Distribution:
    # The Cholesky factor, whichever of the three parametrisations was given: the one that density and draws use.
    loc, scale_tril = gather_rows(q.loc, q.scale_tril)
    return MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)


@_gathers(LowRankMultivariateNormal)
def _low_rank_multivariate_normal(q: LowRankMultivariateNormal) -> Distribution:
    loc, cov_factor, cov_diag = gather_rows(q.loc, q.cov_factor, q.cov_diag)
    return LowRankMultivariateNormal(loc, cov_factor, cov_diag, validate_args=False)


@_gathers(Bernoulli)
def _bernoulli(q: Bernoulli) -> Distribution:
    probs, logits = _probs_and_logits(q)
    return Bernoulli(probs, logits, validate_args=False)


@_gathers(Categorical)
def _categorical(q: Categorical) -> Distribution:
    probs, logits = _probs_and_logits(q)
    return Categorical(probs, logits, validate_args=False)


@_gathers(OneHotCategorical)
def _one_hot(q: OneHotCategorical) -> Distribution:
    probs, logits = _probs_and_logits(q._categorical)
    return OneHotCategorical(probs, logits, validate_args=False)


@_gathers(OneHotCategoricalStraightThrough)
def _one_hot_straight_through(q: OneHotCategoricalStraightThrough) -> Distribution:
    probs, logits = _probs_and_logits(q._categorical)
    return OneHotCategoricalStraightThrough(probs, logits, validate_args=False)


@_gathers(RelaxedBernoulli)
def _relaxed_bernoulli(q: RelaxedBernoulli) -> Distribution:
    probs, logits = _probs_and_logits(q.base_dist)
    temperature = q.temperature
    if temperature.numel() > 1:
        (temperature,) = gather_rows(temperature.expand(q.batch_shape))
    return RelaxedBernoulli(temperature, probs, logits, validate_args=False)


@_gathers(RelaxedOneHotCategorical)
def _relaxed_one_hot(q: RelaxedOneHotCategorical) -> Distribution:
    probs, logits = _probs_and_logits(q.base_dist._categorical)
    return RelaxedOneHotCategorical(q.temperature, probs, logits, validate_args=False)


def _probs_and_logits(q: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return the parameter that the distribution was given, of all rows, and None for the other, which is rounded."""
    (parameter,) = gather_rows(q._param)
    return (parameter, None) if q._param is vars(q).get("probs") else (None, parameter)


@_gathers(Independent)
def _independent(q: Independent[Any]) -> Distribution:
    return Independent(gather(q.base_dist), q.reinterpreted_batch_ndims, validate_args=False)


@_gathers(MixtureSameFamily)
def _mixture(q: MixtureSameFamily) -> Distribution:
    weights = gather(q.mixture_distribution.expand(q.batch_shape))  # may have been one for all examples
    components = gather(q.component_distribution)
    return MixtureSameFamily(cast(Categorical, weights), components, validate_args=False)


@_gathers(TransformedDistribution)
def _transformed(q: TransformedDistribution) -> Distribution:
    shape = q.base_dist.batch_shape + q.base_dist.event_shape
    for transform in q.transforms:
        for parameter in _parameters(transform):
            if parameter.dim() >= len(shape) and parameter.shape[0] == shape[0]:
                raise _misfit(
                    found=f"{type(transform).__name__} with parameters of shape {list(parameter.shape)}",
                    expected="transforms that are the same for every example",
                    write="the parameters of each example into the base distribution",
                )
    return TransformedDistribution(gather(q.base_dist), q.transforms, validate_args=False)


def _parameters(transform: Transform) -> Iterator[Tensor]:
    """Yield the tensors in a transform's attributes, and in those of the transforms that it is made of."""
    waiting, seen = [transform], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # a transform and its inverse know each other
            continue
        seen.add(id(part))
        for value in vars(part).values():
            if isinstance(value, Tensor):
                yield value
            parts = value if isinstance(value, list | tuple) else [value]
            waiting += [inner for inner in parts if isinstance(inner, Transform)]
