"""How good a latent-variable model is, in numbers: likelihood, information, codes.

Legend: N examples, B of a block, K samples, S at a time, M of a batch, D latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from framework.data import Facts, Split
from framework.distributions import Delta
from framework.estimate import Estimate
from framework.importance import Importance, importance_sampling, log_likelihoods, sample_batches
from framework.information import information
from framework.learners.latent import Latent
from framework.linear_products import fast_products
from framework.randomness import Keys, permutation
from framework.waiting import Track

SAMPLES = 500  # importance samples where no number is asked for; published numbers take 5,000
EXAMPLES_AT_ONCE = 64  # encoded together
ROWS = 2_048  # latents decoded together: enough for fast products of matrices, and little memory
STREAM = "fw evaluate"


@dataclass(frozen=True)
class Examined:
    """The examples that a model is judged on.

    Args:
        examples: [N, *input_shape], on the learner's device and of its type.
        labels: what a conditional learner is told, [N] int64; None where it is not.
    """

    examples: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.examples)

    def block(self, rows: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Return some examples, and what a conditional learner is told of them."""
        return self.examples[rows], None if self.labels is None else self.labels[rows]


def examined(split: Split, learner: Latent, seed: int) -> Examined:
    """Return the examples of a split; what is random about them (bits that are drawn) is the same at each call."""
    like = next(learner.parameters())
    blocks = []
    for index, start in enumerate(range(0, len(split), 1_000)):
        rows = slice(start, start + 1_000)
        blocks.append(split.examples(rows, Keys(seed, STREAM, index)).to(like))
    told = split.labels if learner.takes_labels else None
    labels = None if told is None else told.to(like.device)
    return Examined(torch.cat(blocks), labels)


def likelihood_numbers(
    learner: Latent, held: Examined, facts: Facts, *, samples: int, seed: int, track: Track
) -> dict[str, float | None]:
    """Return −log p(x), the ELBO and the reconstruction of examples, with their standard errors, in nats.

    All three are of the same importance samples, so that the gap, nll + elbo, is never negative: what the ELBO lacks of
    log p(x), as far as K samples show.

    Returns:
        `nll`, `elbo`, `reconstruction` and `gap`, each with `…_standard_error`, over the examples;
        `nll_monte_carlo_error`, over other draws of the samples with these examples; `nll_effective_samples`, the
        median over the examples of (Σ w)²/Σ w². Behind each name the word for how the data were binarised.
    """
    found = importance_of(learner, held, samples=samples, seed=seed, track=track)
    values = {
        "nll": -found.log_likelihood,
        "elbo": found.elbo,
        "reconstruction": found.reconstruction,
        "gap": found.log_likelihood - found.elbo,
    }
    numbers: dict[str, float | None] = {}
    word = f"_{facts.binarization}" if facts.binarization else ""
    for name, value in values.items():
        estimate = Estimate.of_mean(value)
        numbers[f"{name}{word}"] = estimate.value
        numbers[f"{name}{word}_standard_error"] = estimate.standard_error
    numbers[f"nll{word}_monte_carlo_error"] = math.sqrt(float(found.variance.sum())) / len(held)
    numbers[f"nll{word}_effective_samples"] = float(found.effective_samples.median())
    return numbers


@torch.inference_mode()
def importance_of(learner: Latent, held: Examined, *, samples: int, seed: int, track: Track) -> Importance:
    """Return importance sampling's estimates of all examples, [N] each.

    Args:
        learner: in evaluation mode; its posterior has a density.
        held: the examples.
        samples: K.
        seed: of the samples.
        track: shows how far it is.
    """
    p: Distribution = learner.prior()
    blocks = []
    for start in track(range(0, len(held), EXAMPLES_AT_ONCE), f"log p(x), {samples:,} samples"):
        x, labels = held.block(slice(start, start + EXAMPLES_AT_ONCE))
        keys = Keys(seed, f"{STREAM}/importance", start)
        with keys("encode"):
            q = learner.posterior(x, labels)

        def fit(z: Tensor, x: Tensor = x, labels: Tensor | None = labels) -> Tensor:
            repeated = None if labels is None else labels.repeat(len(z) // len(x))
            return log_likelihoods(learner.likelihood(z, repeated), x)

        with keys("z"), fast_products(x.device):
            blocks.append(importance_sampling(q, p, fit, sample_batches(q, samples, ROWS // len(x))))
    return Importance.join(blocks)


@torch.inference_mode()
def information_numbers(
    learner: Latent, held: Examined, *, batch_size: int, seed: int, track: Track
) -> dict[str, float | None]:
    """Return what latents say of examples, nats, with standard errors; see `Information`."""
    found = information(list(_encoded(learner, held, batch_size, seed)), learner.prior(), track)
    estimates = {
        "kl_posterior_prior": found.kl,
        "mutual_information": found.mutual_information,
        "mutual_information_lower": found.lower,
        "mutual_information_upper": found.upper,
        "kl_aggregate_prior": found.aggregate_kl,
        "kl_aggregate_prior_by_difference": found.aggregate_kl_by_difference,
        "total_correlation": found.total_correlation,
        "kl_dimension_wise": found.dimension_wise_kl,
    }
    numbers: dict[str, float | None] = {}
    for name, estimate in estimates.items():
        if estimate is not None:
            numbers |= {name: estimate.value, f"{name}_standard_error": estimate.standard_error}
    return numbers


def _encoded(learner: Latent, held: Examined, batch_size: int, seed: int) -> Iterator[tuple[Distribution, Tensor]]:
    """Yield the posteriors of batches of examples in a random order, and a draw of each."""
    order = permutation(len(held), seed=0, epoch=0).to(held.examples.device)
    for index, rows in enumerate(order.split(batch_size)):
        keys = Keys(seed, f"{STREAM}/information", index)
        with keys("encode"):
            q = learner.posterior(*held.block(rows))
        with keys("z"):
            yield q, q.sample()


def evaluate_latent(
    learner: Latent, split: Split, facts: Facts, *, batch_size: int, samples: int, seed: int, track: Track
) -> dict[str, Any]:
    """Judge a latent-variable model on a set of examples.

    Args:
        learner: what is judged, in evaluation mode.
        split: the examples.
        facts: of the data.
        batch_size: M, of the bounds of the mutual information.
        samples: K, of importance sampling.
        seed: of every draw.
        track: shows how far it is.

    Returns:
        Plain numbers by name, `settings` and `notes`.
    """
    held = examined(split, learner, seed)
    settings: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "examples": len(held)}
    if facts.binarization:
        settings["binarization"] = facts.binarization
    numbers: dict[str, float | None] = {}
    notes: list[str] = []
    deterministic, grey = _without_density(learner, held, facts)
    if deterministic:
        notes.append("no nll, no elbo, no information: the posterior is deterministic and has no density")
    elif grey:
        notes.append(
            "no nll, no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy and no "
            "likelihood"
        )
    else:
        numbers |= likelihood_numbers(learner, held, facts, samples=samples, seed=seed, track=track)
    if not deterministic:
        numbers |= information_numbers(learner, held, batch_size=batch_size, seed=seed, track=track)
    return {**_plain(numbers, notes), "settings": settings, "notes": notes}


@torch.inference_mode()
def _without_density(learner: Latent, held: Examined, facts: Facts) -> tuple[bool, bool]:
    """Return whether the posterior is deterministic, and whether grey pixels meet a likelihood of zeros and ones."""
    x, labels = held.block(slice(0, 2))
    q = learner.posterior(x, labels)
    support: Any = learner.likelihood(q.sample(), labels).support
    pixel = support.base_constraint if isinstance(support, constraints.independent) else support
    return isinstance(q, Delta), pixel is constraints.boolean and facts.values != "binary"


def _plain(numbers: dict[str, float | None], notes: list[str]) -> dict[str, float | None]:
    """Return the numbers with None for what is not finite, which JSON has no word for."""
    if lost := [name for name, value in numbers.items() if value is not None and not math.isfinite(value)]:
        notes.append(f"not finite: {', '.join(lost)}")
    return {name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()}
