"""What does not fit together in a latent-variable model, as errors that name the option.

Legend: B batch, D latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from framework.baseline import Baseline
from framework.bounds import Bound
from framework.data import Facts
from framework.discrete import categories_of, relaxed
from framework.distributions import Delta
from framework.divergence import Term
from framework.divergence import divergences as divergence_registry
from framework.errors import IncompatibleParts, OptionError
from framework.objective import Leaf, Objective
from framework.randomness import Keys
from framework.schedule import Schedule, lowest

Estimator = Literal["pathwise", "straight_through", "score_function"]

# No labels of divergences.
METRICS = ("objective", "reconstruction", "elbo", "baseline_loss", "active_units", "aggregate_mismatch")


def objective_of(divergences: dict[str, Term]) -> tuple[Objective, str | None]:
    """Return the objective, and the label of its KL divergence, where it has one.

    Raises:
        IncompatibleParts: a weight that is negative where it may not be, two terms with one label.
    """
    try:
        objective = Objective(divergences)
    except IncompatibleParts as error:
        raise IncompatibleParts(
            [
                OptionError(f"divergences.{one.option}", found=one.found, expected=one.expected, write=one.write)
                for one in error.misfits
            ]
        ) from error
    kl = [leaf.label for leaf in objective.leaves if _is_kl(leaf)]
    return objective, kl[0] if kl else None


def shape_misfits(
    q: Distribution, p: Distribution, likelihood: Distribution, latent_dim: int, facts: Facts
) -> Iterator[OptionError]:
    """Yield what is wrong with the shapes and the ranges of two examples' posterior, the prior and the likelihood."""
    if q.batch_shape != (2,) or q.event_shape != (latent_dim,):
        found = f"batch shape {list(q.batch_shape)}, event shape {list(q.event_shape)} for 2 examples"
        yield OptionError("encoder", found=found, expected=f"a posterior of [2] events [{latent_dim}]")
    if p.batch_shape != () or p.event_shape != (latent_dim,):
        found = f"batch shape {list(p.batch_shape)}, event shape {list(p.event_shape)}"
        expected = f"batch shape [], event shape [{latent_dim}], the latent dimension"
        yield OptionError("prior", found=found, expected=expected)
    yield from kind_misfits(q, p)
    if likelihood.event_shape != torch.Size(facts.input_shape):
        found = f"examples of shape {list(likelihood.event_shape)}"
        yield OptionError("decoder", found=found, expected=f"the data's {list(facts.input_shape)}")
    elif facts.values == "real" and support_of_a_pixel(likelihood) in (constraints.boolean, constraints.unit_interval):
        base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
        yield OptionError(
            "decoder.likelihood",
            found=f"{type(base).__name__} on data outside [0, 1]",
            expected="a likelihood on the real line, or data scaled to [0, 1]",
            write="likelihood: gaussian",
        )


def kind_misfits(q: Distribution, p: Distribution) -> Iterator[OptionError]:
    """Yield that the prior is of other values than the posterior: of real numbers, bits, or one-hot variables.

    A deterministic posterior is let through: divergences of samples may draw its codes to the bits of a prior. So is
    what does not say its support.
    """
    mine, other = (_is_discrete(one) for one in (q, p))
    if isinstance(q, Delta) or None in (mine, other):
        return
    if mine != other or categories_of(q) != categories_of(p):
        yield OptionError(
            "prior",
            found=f"{_values(p)}, with a posterior of {_values(q)}",
            expected="a prior of what the posterior is of",
            write=f"prior: {_prior_for(q)}",
        )


def _is_discrete(distribution: Distribution) -> bool | None:
    """Return None where it does not say."""
    try:
        support: constraints.Constraint = distribution.support  # type: ignore[assignment]
    except NotImplementedError:
        return None
    return support.is_discrete


def _values(distribution: Distribution) -> str:
    categories = categories_of(distribution)
    if categories is not None:
        return f"one-hot variables of {categories} categories"
    return "bits" if _is_discrete(distribution) else "real numbers"


def _prior_for(q: Distribution) -> str:
    categories = categories_of(q)
    if categories is not None:
        return f"{{name: categorical, categories: {categories}}}"
    return "bernoulli" if _is_discrete(q) else "standard_normal"


def bound_misfits(
    bound: Bound, samples: int, estimator: Estimator, objective: Objective, q: Distribution
) -> Iterator[OptionError]:
    """Yield why the model has not this bound, or not this number of samples."""
    if samples < 1:
        yield OptionError("samples", found=samples, expected="1 or more")
    if bound == "elbo":
        if samples > 1 and estimator != "score_function":
            yield OptionError(
                "samples",
                found=f"{samples} with bound: elbo",
                expected="1: more are for an importance-weighted bound, or for estimator: score_function",
                write="bound: iwae",
            )
        return
    kl_alone = len(objective.leaves) == 1 and _is_kl(objective.leaves[0])
    if not kl_alone or objective.leaves[0].weight != 1 or objective.leaves[0].capacity is not None:
        yield OptionError(
            "bound",
            found=f"{bound} with {objective.formula('reconstruction')}",
            expected="kl alone, at weight 1: of another objective it would be no bound",
            write="bound: elbo",
        )
    if not q.has_rsample or isinstance(q, Delta) or estimator != "pathwise":
        found = f"{bound} with {type(q).__name__} and estimator: {estimator}"
        expected = "a posterior with a density and a reparametrised draw, and estimator: pathwise"
        yield OptionError("bound", found=found, expected=expected, write="bound: elbo")


def draw_misfits(estimator: Estimator, temperature: float | Schedule | None, q: Distribution) -> Iterator[OptionError]:
    """Yield why the posterior cannot be drawn from so that a gradient comes back."""
    if estimator == "score_function" and isinstance(q, Delta):
        expected = "a posterior with a density, or estimator: pathwise"
        yield OptionError("estimator", found="score_function of a deterministic posterior", expected=expected)
    if estimator == "straight_through" and q.has_rsample:
        found = f"straight_through of a {type(q).__name__}, which is reparametrised"
        yield OptionError("estimator", found=found, expected="pathwise", write="estimator: pathwise")
    relaxes = estimator == "pathwise" and not q.has_rsample
    if relaxes and temperature is None:
        yield OptionError(
            "temperature",
            found="none, with discrete latents and estimator: pathwise",
            expected="the temperature of the relaxed draws, above 0",
            write="temperature: 0.5",
        )
    elif relaxes:
        try:
            relaxed(q, 1.0)
        except IncompatibleParts as error:
            yield from error.misfits
    if temperature is None:
        return
    if not relaxes:
        found = f"set, with {type(q).__name__} and estimator: {estimator}"
        yield OptionError("temperature", found=found, expected="null: only relaxed draws of discrete latents have one")
    elif lowest(temperature) <= 0:
        yield OptionError("temperature", found=f"{lowest(temperature):g}", expected="a number above 0")


def baseline_misfits(baseline: Baseline | None, estimator: Estimator, samples: int) -> Iterator[OptionError]:
    """Yield why the baseline is of no use."""
    if baseline is None:
        return
    if estimator != "score_function":
        expected = "null: only the score function has a baseline"
        yield OptionError("baseline", found=f"set, with estimator: {estimator}", expected=expected)
    if samples < baseline.fewest_samples:
        yield OptionError(
            "samples",
            found=f"{samples} with {type(baseline).__name__}",
            expected=f"{baseline.fewest_samples} or more: it says nothing about fewer",
            write=f"samples: {baseline.fewest_samples}",
        )


def divergence_misfits(
    objective: Objective, estimator: Estimator, q: Distribution, p: Distribution
) -> Iterator[OptionError]:
    """Yield what is wrong with each term, run on the posterior of two examples: estimators can say what they do."""
    for leaf in objective.leaves:
        option = f"divergences.{leaf.label.split('/')[0]}"
        if leaf.label in METRICS:
            yield OptionError(option, found="the name of a metric of the learner", expected="another label")
        elif leaf.divergence.needs_density and isinstance(q, Delta):
            yield OptionError(
                option,
                found=f"{leaf.label!r} with a deterministic posterior, which has no density",
                expected="a posterior with a density, or a divergence of samples such as mmd",
                write="encoder.posterior=gaussian",
            )
        else:
            try:
                values = [_value(leaf, q, p, z) for z in (q.sample(), q.sample())]
            except ValueError as error:
                yield OptionError(option, found=str(error), expected="parts that it can compare")
                continue
            if estimator == "score_function" and (leaf.divergence.aggregate or not torch.equal(*values)):
                yield OptionError(
                    option,
                    found=f"{leaf.label!r}, which is estimated from samples, with estimator: score_function",
                    expected="a divergence in closed form: its gradient does not pass through samples",
                    write="estimator: pathwise",
                )


def _value(leaf: Leaf, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    alone = Objective({leaf.label: Term(leaf.divergence)})
    value: Tensor = alone(q, p, z, counters=None, keys=Keys(0, "check", 0))[0]
    return value


def _is_kl(leaf: Leaf) -> bool:
    return divergence_registry.name_of(leaf.divergence) == "kl"


def support_of_a_pixel(likelihood: Distribution) -> constraints.Constraint:
    """Return the range of one pixel."""
    support: constraints.Constraint = likelihood.support  # type: ignore[assignment]
    return support.base_constraint if isinstance(support, constraints.independent) else support
