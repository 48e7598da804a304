"""How good a latent-variable model is: its likelihood, its information, its codes and its samples.

Legend: N examples, K samples, M of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributions import constraints

from framework.codes import KERNEL, POINTS
from framework.data import Facts, Split
from framework.distributions import Delta
from framework.estimate import GROUPS, Estimate
from framework.examined import Examined, examined, squared_error
from framework.latent_numbers import (
    Numbers,
    code_numbers,
    information_numbers,
    likelihood_numbers,
    probe_numbers,
    sample_numbers,
)
from framework.learners.latent import Latent
from framework.probes import FITTED, NEIGHBOURS
from framework.sample_quality import EXAMPLES as CLASSIFIED
from framework.supports import support_of_a_value
from framework.waiting import Track

SAMPLES = 500  # importance samples where no number is asked for; published numbers take 5,000
NEAR = 0.5  # nats
FEW = 10  # effective samples: fewer say that q(z|x) is far from p(z|x)
FEWEST = 2 * GROUPS  # examples, for standard errors by groups


def evaluate_latent(
    learner: Latent,
    split: Split,
    train: Split,
    facts: Facts,
    *,
    batch_size: int,
    samples: int,
    seed: int,
    track: Track,
) -> dict[str, Any]:
    """Judge a latent-variable model on a set of examples; twice the same gives the same numbers.

    What cannot be had (a likelihood of grey pixels under a Bernoulli decoder, densities of a deterministic encoder,
    accuracies without labels, or of the examples that a classifier was fitted to) is left out, with the reason in
    `notes`.

    Args:
        learner: what is judged, in evaluation mode.
        split: the examples; they may be the training set itself.
        train: the training set, for probes and for the classifier of samples.
        facts: of the data.
        batch_size: M, of the bounds of the mutual information.
        samples: K, of importance sampling.
        seed: of every draw.
        track: shows how far it is.

    Returns:
        Numbers by name (`framework.latent_numbers`), with `…_standard_error` where there is one; `settings` and
        `notes`.
    """
    held = examined(split, learner)
    settings: dict[str, Any] = {"batch_size": batch_size, "examples": len(held)}
    if facts.binarization:
        settings["binarization"] = facts.binarization
    deterministic, grey = _without_density(learner, held, facts)
    found = _Found({}, settings, [])
    if deterministic:
        found.notes.append("no nll, no elbo, no information: the posterior is deterministic and has no density")
    elif grey:
        found.notes.append(
            "no nll, no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy and no "
            "likelihood"
        )
    else:
        found += _likelihood(learner, held, facts.binarization, samples, seed, track)
    if learner.takes_labels:
        found.notes.append("the codes were told the label: probe accuracies and information are of (x, y)")
    error = Estimate.of_mean(squared_error(learner, held))
    found.numbers |= {"squared_error": error.value, "squared_error_standard_error": error.standard_error}
    if not deterministic:
        found += _information(learner, held, batch_size, seed, track)
    if len(held) < FEWEST:
        found.notes.append(f"no codes, no probes, no sample quality: they take {FEWEST} examples at least")
    else:
        codes = {"mmd_kernel": KERNEL, "mmd_points": min(len(held), POINTS)}
        found += _Found(code_numbers(learner, held, seed=seed), codes, [])
        found += _with_labels(learner, held, None if split is train else train, facts, seed)
    numbers = _finite(found.numbers, found.notes)
    return {**numbers, "settings": found.settings, "notes": found.notes}


@dataclass
class _Found:
    """Numbers, the settings that they were found with, and what to know of them."""

    numbers: Numbers
    settings: dict[str, Any]
    notes: list[str]

    def __iadd__(self, other: _Found) -> _Found:
        self.numbers |= other.numbers
        self.settings |= other.settings
        self.notes += other.notes
        return self


def _likelihood(learner: Latent, held: Examined, word: str | None, samples: int, seed: int, track: Track) -> _Found:
    numbers = likelihood_numbers(learner, held, word, samples=samples, seed=seed, track=track)
    notes = _of_importance(numbers, samples)
    if learner.takes_labels:
        notes.append("the model is conditional: every likelihood is of x given its label")
    return _Found(numbers, {"samples": samples}, notes)


def _information(learner: Latent, held: Examined, batch_size: int, seed: int, track: Track) -> _Found:
    numbers = information_numbers(learner, held, batch_size=batch_size, seed=seed, track=track)
    most = math.log(len(held))
    notes = []
    if numbers["mutual_information"] > most - NEAR:
        notes.append(
            f"the mutual information is near the most that {len(held):,} examples can show, log {len(held):,} = "
            f"{most:.2f} nats: of the population it may be larger, and KL(q(z)‖p) smaller"
        )
    return _Found({**numbers}, {}, notes)


def _of_importance(numbers: Numbers, samples: int) -> list[str]:
    """Return what to know of importance sampling where few samples bear all the weight."""
    name = next(name for name in numbers if name.startswith("nll") and name.endswith("effective_samples"))
    effective = numbers[name]
    assert isinstance(effective, float)
    # Of few samples that all count, the bias is small: about (K/n − 1)/2K nats with n effective ones.
    if not effective < min(FEW, samples / 2):
        return []
    return [
        f"nll is too large by an unknown amount: of {samples:,} samples {effective:.1f} bear the weight, in the median "
        "over the examples: raise --samples"
    ]


def _with_labels(learner: Latent, held: Examined, train: Split | None, facts: Facts, seed: int) -> _Found:
    """Return the numbers that take labels, by classifiers of the training set; None is where it is what is held."""
    if train is None:
        return _Found({}, {}, ["no probes, no sample quality: their classifiers have seen the training examples"])
    if held.labels is None or train.labels is None:
        return _Found({}, {}, ["no probes, no sample quality: the data have no labels"])
    if len(train.labels.unique()) < 2:
        return _Found({}, {}, ["no probes, no sample quality: all labels are the same"])
    known = examined(train, learner, most=max(CLASSIFIED, len(held)))
    draws = facts.values == "binary"
    numbers: Numbers = {**probe_numbers(learner, held, known)}
    numbers |= sample_numbers(learner, held, known, seed=seed, draws=draws)
    settings = {
        "probe_examples": min(len(known), FITTED),
        "neighbours": NEIGHBOURS,
        "classifier_examples": min(len(known), CLASSIFIED),
        "new_examples": f"{len(held)} {'draws' if draws else 'means'} of p(x|z)",
    }
    return _Found(numbers, settings, [])


@torch.inference_mode()
def _without_density(learner: Latent, held: Examined, facts: Facts) -> tuple[bool, bool]:
    """Return whether the posterior is deterministic, and whether grey pixels meet a likelihood of zeros and ones."""
    x, told = held.block(slice(0, 2))
    q = learner.posterior(x, told)
    pixel = support_of_a_value(learner.likelihood(q.sample(), told))
    return isinstance(q, Delta), pixel is constraints.boolean and facts.values != "binary"


def _finite(numbers: Numbers, notes: list[str]) -> Numbers:
    """Return the numbers with None for what is not finite, for which JSON has no word."""
    lost = [name for name, value in numbers.items() if not _is_finite(value)]
    if lost:
        notes.append(f"not finite: {', '.join(lost)}")
    return {name: None if name in lost else value for name, value in numbers.items()}


def _is_finite(value: float | list[float] | None) -> bool:
    return all(map(math.isfinite, value)) if isinstance(value, list) else value is not None and math.isfinite(value)
