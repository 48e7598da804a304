"""The numbers that a latent-variable model is judged by, by name: one function for each kind.

Legend: N examples, B of a block, K samples, M of a batch, D latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.codes import POINTS, count_active_units, kl_by_factor, mmd_to_prior
from framework.estimate import Estimate
from framework.examined import STREAM, Examined, decoded_at_once, encoded, generated, means_of
from framework.importance import Importance, importance_sampling, log_likelihoods, sample_batches
from framework.information import information
from framework.learners.latent import Latent
from framework.linear_products import fast_products
from framework.pixel_distributions import CategoricalPixels, DiscretizedLogistic
from framework.probes import FITTED, linear_probe, nearest_neighbours
from framework.randomness import Keys
from framework.sample_quality import EXAMPLES, accuracy, features, frechet_estimate, train_classifier
from framework.waiting import Track

EXAMPLES_AT_ONCE = 64  # encoded together
ROWS = 4_096  # latents decoded together, at most: for fast products

Numbers = dict[str, float | int | list[float] | None]


def likelihood_numbers(
    learner: Latent, held: Examined, word: str | None, *, samples: int, seed: int, track: Track
) -> Numbers:
    """Return −log p(x), the ELBO and the reconstruction of examples, in nats.

    All three are of the same importance samples, so that the gap, −elbo − nll, is never negative: what the ELBO lacks
    of log p(x), as far as K samples show.

    Args:
        learner: in evaluation mode; its posterior and its likelihood are densities.
        held: the examples.
        word: how the data were binarised, which stands behind each name: numbers of data that were binarised in
            different ways are not comparable. None where they were not.
        samples: K.
        seed: of the samples.
        track: shows how far it is.

    Returns:
        `nll`, `elbo`, `reconstruction` and `gap`, with standard errors over the examples; `nll_monte_carlo_error`, over
        other draws of the samples for the same examples; `nll_effective_samples`, the median over the examples of
        (Σ w)²/Σ w². Where p(x|z) is of bytes, `bits_per_dimension` too, nll/(P log 2) for P values.
    """
    found = importance_of(learner, held, samples=samples, seed=seed, track=track)
    values = {
        "nll": -found.log_likelihood,
        "elbo": found.elbo,
        "reconstruction": found.reconstruction,
        "gap": found.log_likelihood - found.elbo,
    }
    behind = f"_{word}" if word else ""
    numbers: Numbers = {}
    numbers |= _plain({f"{name}{behind}": Estimate.of_mean(value) for name, value in values.items()})
    numbers[f"nll{behind}_monte_carlo_error"] = math.sqrt(float(found.variance.sum())) / len(held)
    numbers[f"nll{behind}_effective_samples"] = float(found.effective_samples.median())
    if _is_of_bytes(learner, held):
        bits = values["nll"] / (math.prod(held.examples.shape[1:]) * math.log(2))
        numbers |= _plain({f"bits_per_dimension{behind}": Estimate.of_mean(bits)})
    return numbers


@torch.inference_mode()
def _is_of_bytes(learner: Latent, held: Examined) -> bool:
    """Return whether p(x|z) is a probability of bytes, and not a density."""
    _, told = held.block(slice(0, 1))
    likelihood = learner.likelihood(held.examples.new_zeros(1, learner.latent_dim), told)
    return isinstance(likelihood, CategoricalPixels | DiscretizedLogistic)


@torch.inference_mode()
def importance_of(learner: Latent, held: Examined, *, samples: int, seed: int, track: Track) -> Importance:
    """Return importance sampling's estimates of all examples, [N] each; see `likelihood_numbers`."""
    p: Distribution = learner.prior()
    rows = decoded_at_once(learner, held, ROWS)
    count = min(EXAMPLES_AT_ONCE, rows, len(held))
    at_once = rows // count
    blocks = []
    for start in track(range(0, len(held), count), f"log p(x), {samples:,} samples"):
        x, told = held.block(slice(start, start + count))
        keys = Keys(seed, f"{STREAM}/importance", start)
        with keys("encode"):
            q = learner.posterior(x, told)

        def fit(z: Tensor, x: Tensor = x, told: Tensor | None = told) -> Tensor:
            repeated = None if told is None else told.repeat(len(z) // len(x))
            return log_likelihoods(learner.likelihood(z, repeated), x)

        with keys("z"), fast_products(x.device):
            blocks.append(importance_sampling(q, p, fit, sample_batches(q, samples, at_once)))
    return Importance.join(blocks)


@torch.inference_mode()
def information_numbers(
    learner: Latent, held: Examined, *, batch_size: int, seed: int, track: Track
) -> dict[str, float]:
    """Return what latents say of examples, nats; see `Information`."""
    found = information(list(encoded(learner, held, batch_size, seed)), learner.prior(), track)
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
    return _plain({name: estimate for name, estimate in estimates.items() if estimate is not None})


@torch.inference_mode()
def code_numbers(learner: Latent, held: Examined, *, seed: int) -> Numbers:
    """Return `active_units`, `mmd_to_prior` and, where it has a closed form, `kl_by_dimension`."""
    batches = list(encoded(learner, held, EXAMPLES_AT_ONCE, seed))
    numbers: Numbers = {"active_units": count_active_units(torch.cat([q.mean for q, _ in batches]))}
    p: Distribution = learner.prior()
    if (by_dimension := kl_by_factor([q for q, _ in batches], p)) is not None:
        numbers["kl_by_dimension"] = by_dimension
    z = torch.cat([z for _, z in batches])[:POINTS]  # [n, D]
    with Keys(seed, f"{STREAM}/prior", 0)("z"):
        w = p.sample(torch.Size((len(z),)))
    return numbers | _plain({"mmd_to_prior": mmd_to_prior(z, w)})


def probe_numbers(learner: Latent, held: Examined, train: Examined) -> dict[str, float]:
    """Return the accuracies of a linear and a nearest-neighbour classifier of the posteriors' means."""
    assert held.labels is not None
    assert train.labels is not None
    fitted = Examined(train.examples[:FITTED], train.labels[:FITTED], train.told)
    data = (means_of(learner, fitted), train.labels[:FITTED], means_of(learner, held), held.labels)
    return _plain({"linear_probe_accuracy": linear_probe(*data), "knn_accuracy": nearest_neighbours(*data)})


def sample_numbers(learner: Latent, held: Examined, train: Examined, *, seed: int, draws: bool) -> Numbers:
    """Return the Fréchet distance of new examples to those that are held, in the features of a small classifier.

    Args:
        learner: in evaluation mode.
        held: N examples with labels; N new ones are made.
        train: what the classifier is trained on; as many of these are compared with the held ones for reference.
        seed: of the new examples.
        draws: whether they are draws of p(x|z), or its means.

    Returns:
        `classifier_frechet`, `classifier_frechet_of_training_examples`, and `classifier_accuracy` on the held ones.
    """
    assert held.labels is not None
    assert train.labels is not None
    classifier = train_classifier(train.examples[:EXAMPLES], train.labels[:EXAMPLES])
    real = features(classifier, held.examples)
    made = features(classifier, generated(learner, held, seed=seed, draws=draws))
    reference = features(classifier, train.examples[: len(held)])
    return {
        **_plain(
            {
                "classifier_frechet": frechet_estimate(made, real),
                "classifier_frechet_of_training_examples": frechet_estimate(reference, real),
            }
        ),
        "classifier_accuracy": accuracy(classifier, held.examples, held.labels),
    }


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Return each estimate and, behind it, its standard error where there is one."""
    numbers: dict[str, float] = {}
    for name, estimate in estimates.items():
        numbers[name] = estimate.value
        if estimate.standard_error is not None:
            numbers[f"{name}_standard_error"] = estimate.standard_error
    return numbers
