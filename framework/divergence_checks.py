"""What is wrong with the divergences of a latent-variable model, as errors that name the term."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.distributions import Delta
from framework.divergence import Term
from framework.divergence import divergences as divergence_registry
from framework.errors import IncompatibleParts, OptionError
from framework.latent_draws import Estimator
from framework.objective import Leaf, Objective
from framework.randomness import Keys

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
    kl = [leaf.label for leaf in objective.leaves if is_kl(leaf)]
    return objective, kl[0] if kl else None


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
                _value(leaf, q, p, q.sample())
            except ValueError as error:
                yield OptionError(option, found=str(error), expected="parts that it can compare")
                continue
            yield from _draw_misfits_of(leaf, option, estimator, q, p)


def _draw_misfits_of(
    leaf: Leaf, option: str, estimator: Estimator, q: Distribution, p: Distribution
) -> Iterator[OptionError]:
    """Yield that a term looks at z where z carries no gradient, or is no value of q."""
    relaxes = estimator == "pathwise" and not q.has_rsample
    if not (relaxes or estimator == "score_function") or not _looks_at_z(leaf, q, p):
        return
    if relaxes:
        found, because = "pathwise, by relaxed draws", "a relaxed draw is no value of q, and the prior has none like it"
    else:
        found, because = "score_function", "its gradient does not pass through samples"
    yield OptionError(
        option,
        found=f"{leaf.label!r}, which is estimated from samples, with estimator: {found}",
        expected=f"a divergence in closed form: {because}",
        write="estimator: pathwise" if q.has_rsample else "estimator: straight_through",
    )


def _looks_at_z(leaf: Leaf, q: Distribution, p: Distribution) -> bool:
    """Return whether a divergence depends on the sample: then what is not a number comes out where it went in.

    To compare the values at two draws would not do: they are equal at any where q = p, and two draws of few bits often
    are.
    """
    twin = replace(leaf, divergence=copy.deepcopy(leaf.divergence))  # it may keep statistics of what it has seen
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what does not converge, say
            value = _value(twin, q, p, torch.full_like(q.sample(), torch.nan))
    except (ValueError, RuntimeError):  # who checks samples looks at them
        return True
    return not bool(value.isfinite())


def _value(leaf: Leaf, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    alone = Objective({leaf.label: Term(leaf.divergence)})
    value: Tensor = alone(q, p, z, counters=None, keys=Keys(0, "check", 0))[0]
    return value


def is_kl(leaf: Leaf) -> bool:
    """Return whether a term is the KL divergence of each example's posterior."""
    return divergence_registry.name_of(leaf.divergence) == "kl"
