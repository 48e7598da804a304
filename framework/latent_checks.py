"""What does not fit together in a latent-variable model, as errors that name the option.

Legend: B batch, D latent.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.distributions import Distribution, constraints

from framework.baseline import Baseline, FittedBaseline, Samples, baselines
from framework.data import Facts
from framework.discrete import categories_of, is_discrete, relaxed
from framework.distributions import Delta, detached
from framework.divergence_checks import divergence_misfits, is_kl
from framework.errors import IncompatibleParts, OptionError
from framework.latent_draws import Draws
from framework.objective import Objective
from framework.schedule import lowest
from framework.share import Share
from framework.supports import support_of_a_value


def latent_misfits(
    draws: Draws,
    objective: Objective,
    baseline: Baseline | None,
    parts: tuple[Distribution, Distribution, Distribution],
    latent_dim: int,
    facts: Facts,
) -> list[OptionError]:
    """Return what does not fit together; divergences are run only where the rest fits.

    Args:
        draws: of latents.
        objective: its terms.
        baseline: of the score function.
        parts: the posterior of two blank examples, with the graph that training gives it, the prior, and the likelihood
            of two latents.
        latent_dim: D.
        facts: of the data.
    """
    q, p, likelihood = parts
    misfits = [
        *shape_misfits(q, p, likelihood, latent_dim, facts),
        *bound_misfits(draws, objective, q),
        *draw_misfits(draws, q),
        *baseline_misfits(baseline, draws, facts),
    ]
    return misfits or list(divergence_misfits(objective, draws.estimator, q, p))


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
    elif facts.values == "real" and support_of_a_value(likelihood) in (constraints.boolean, constraints.unit_interval):
        yield OptionError(
            "decoder.likelihood",
            found="one on [0, 1], and data outside it",
            expected="a likelihood on the real line, or data scaled to [0, 1]",
            write="likelihood: gaussian",
        )


def kind_misfits(q: Distribution, p: Distribution) -> Iterator[OptionError]:
    """Yield that the prior is of other values than the posterior: of real numbers, bits, or one-hot variables.

    A deterministic posterior is let through: divergences of samples may draw its codes to the bits of a prior. So is
    what does not say its support.
    """
    mine, other = (is_discrete(one) for one in (q, p))
    if isinstance(q, Delta) or None in (mine, other):
        return
    if mine != other or categories_of(q) != categories_of(p):
        yield OptionError(
            "prior",
            found=f"{_values(p)}, with {_posterior(q)}",
            expected="a prior of what the posterior is of",
            write=f"prior: {_prior_for(q)}",
        )


def _values(distribution: Distribution) -> str:
    categories, discrete = categories_of(distribution), is_discrete(distribution)
    if categories is not None:
        return f"one-hot variables of {categories} categories"
    if discrete is None:
        return "values that it does not tell"
    return "bits" if discrete else "real numbers"


def _posterior(q: Distribution) -> str:
    return "a deterministic posterior" if isinstance(q, Delta) else f"a posterior of {_values(q)}"


def _prior_for(q: Distribution) -> str:
    categories = categories_of(q)
    if categories is not None:
        return f"{{name: categorical, categories: {categories}}}"
    return "bernoulli" if is_discrete(q) else "standard_normal"


def bound_misfits(draws: Draws, objective: Objective, q: Distribution) -> Iterator[OptionError]:
    """Yield why the model has not this bound, or not this number of samples; q has the graph that training gives it."""
    bound, samples, estimator = draws.bound, draws.samples, draws.estimator
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
    kl_alone = len(objective.leaves) == 1 and is_kl(objective.leaves[0])
    if not kl_alone or objective.leaves[0].weight != 1 or objective.leaves[0].capacity is not None:
        yield OptionError(
            "bound",
            found=f"{bound} with {objective.formula('reconstruction')}",
            expected="kl alone, at weight 1: of another objective it would be no bound",
            write="bound: elbo",
        )
    if not q.has_rsample or isinstance(q, Delta) or estimator != "pathwise":
        found = f"{bound} with {_posterior(q)} and estimator: {estimator}"
        expected = "a posterior with a density and a reparametrised draw, and estimator: pathwise"
        yield OptionError("bound", found=found, expected=expected, write="bound: elbo")
    elif bound == "dreg" and _stays_attached(q):
        yield OptionError(
            "bound",
            found=f"dreg with {type(q).__name__}, whose parameters cannot all be detached",
            expected="a posterior with its parameters in attributes: the gradient is to reach them through z alone",
            write="bound: iwae",
        )


def _stays_attached(q: Distribution) -> bool:
    """Return whether log q(z) still has a gradient to parameters where q is detached: it keeps them in a list, say."""
    with torch.enable_grad():
        return detached(q).log_prob(q.sample()).requires_grad


def draw_misfits(draws: Draws, q: Distribution) -> Iterator[OptionError]:
    """Yield why the posterior cannot be drawn from so that a gradient comes back."""
    estimator, temperature = draws.estimator, draws.temperature
    if estimator == "score_function" and isinstance(q, Delta):
        expected = "a posterior with a density, or estimator: pathwise"
        yield OptionError("estimator", found="score_function of a deterministic posterior", expected=expected)
    if estimator == "straight_through" and q.has_rsample:
        found = f"straight_through with {_posterior(q)}, which is reparametrised"
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
        found = f"set, with {_posterior(q)} and estimator: {estimator}"
        yield OptionError("temperature", found=found, expected="null: only relaxed draws of discrete latents have one")
    elif lowest(temperature) <= 0:
        yield OptionError("temperature", found=f"{lowest(temperature):g}", expected="a number above 0")


def baseline_misfits(baseline: Baseline | None, draws: Draws, facts: Facts) -> Iterator[OptionError]:
    """Yield why the baseline is of no use, tried on the samples of two blank examples."""
    if baseline is None:
        return
    estimator, samples = draws.estimator, draws.samples
    if estimator != "score_function":
        expected = "null: only the score function has a baseline"
        yield OptionError("baseline", found=f"set, with estimator: {estimator}", expected=expected)
    if samples < baseline.fewest_samples:
        yield OptionError(
            "samples",
            found=f"{samples} with {baselines.name_of(baseline)}",
            expected=f"{baseline.fewest_samples} or more: it says nothing about fewer",
            write=f"samples: {baseline.fewest_samples}",
        )
        return
    blank = Samples(torch.zeros(samples, 2, *facts.input_shape), torch.zeros(samples, 2))
    try:
        baseline(blank)
        if isinstance(baseline, FittedBaseline):
            baseline.loss(blank)
    except OptionError as error:
        option = error.option if error.option == "baseline" else f"baseline.{error.option}"
        yield OptionError(option, found=error.found, expected=error.expected, write=error.write)


def microbatch_misfits(baseline: Baseline | None, share: Share) -> list[OptionError]:
    """Return that the baseline keeps statistics of whole batches, and sees parts in turn."""
    if baseline is None or not baseline.keeps_statistics or share.count == 1 or share.gathers:
        return []
    return [
        OptionError(
            "baseline",
            found=f"{baselines.name_of(baseline)}, which keeps statistics of whole batches, with trainer.microbatch",
            expected="a baseline that keeps none, such as leave_one_out, or whole batches",
            write="trainer.microbatch: null",
        )
    ]
