"""What the validations of a latent-variable model say of its two failures: a latent loss too high, or too low.

The thresholds are of MNIST, 16 latents, five epochs of `recipes/vae_mnist.yaml` with the weight of the KL as written;
`active` are the active units, `mismatch` the lower bound of KL(q(z)‖p), both on the validation set:

    weight            100     20      4      1    0.4    0.1   0.01   0.001   no term
    KL, nats          0.0    0.4    8.8   23.5   33.2   50.6    108     189
    active              0    3.5   14.0     16     16     16     16      16        16
    mismatch, nats    0.0    0.0    0.1    0.3    0.7    5.6     43      97        99

The adversarial and the MMD autoencoders of `recipes/` are at 0.2 and 0.3 nats after four epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from framework.alarm import Alarm, History
from framework.objective import Objective
from framework.schedule import Counters, Schedule, value_at

IN_A_ROW = 2  # validations that must agree: a model may start slowly, and a single epoch may go astray
LEAST_ACTIVE = 1.0  # units, in the mean over batches
LEAST_INFORMATION = math.log(2)  # nats: what tells one half of the examples from the other
OF_THE_MOST = 0.5  # of what discrete latents can carry at all, where that is little
OF_A_CAPACITY = 0.5  # of the nats that a term with a capacity asks for at the time
MOST_MISMATCH = 1.0  # nats a latent unit, what a standard deviation of 2.1 in place of the prior's 1 amounts to
RISES, LEAST_RISE = 1.1, 0.01  # of the KL before, and nats: less is no sign that a model has begun to learn
STAYS = 0.9  # of the mismatch before: what falls faster is on its way to the prior, as under a weight that grows

Weights = Mapping[str, float | Schedule]


def latent_alarms(
    latent_dim: int, objective: Objective, kl: str | None, most: float = math.inf, *, conditional: bool = False
) -> tuple[Alarm, ...]:
    """Return the alarms of a latent-variable model.

    Args:
        latent_dim: D.
        objective: its terms, whose weights are named.
        kl: the label of the term that is E KL(q(z|x)‖p), nats; None where there is none.
        most: nats, above 0, that latents can carry; see `framework.discrete.most_information`.
        conditional: whether the decoder is told labels, by which samples differ although z says nothing.
    """
    capacity = next((leaf.capacity for leaf in objective.leaves if leaf.label == kl), None)
    least = min(LEAST_INFORMATION, OF_THE_MOST * most)
    weights = {leaf.label: leaf.weight for leaf in objective.leaves}
    collapse = partial(posterior_collapse, latent_dim=latent_dim, kl=kl, weights=weights, conditional=conditional)
    return (
        partial(collapse, least=least, capacity=capacity),
        partial(poor_samples, latent_dim=latent_dim, weights=weights),
    )


def posterior_collapse(
    history: History,
    *,
    latent_dim: int,
    kl: str | None,
    weights: Weights,
    least: float = LEAST_INFORMATION,
    capacity: float | Schedule | None = None,
    conditional: bool = False,
) -> str | None:
    """Return what to say where the latents tell nothing of the examples: the weight of the latent loss is too high.

    That is so where, at two validations in a row, less than one unit is active, or E KL(q(z|x)‖p), which is I(x;z) or
    more, is below log 2 nats: then z cannot even tell one half of the examples from the other. Units alone would not
    do: a mean with a variance of 0.011 counts as active, and carries 0.006 nats under a posterior of variance 1.

    A single bit carries log 2 at most, and less where it is not always sure: of it half is enough. Under a capacity,
    little is what was asked for: while KL is at half the capacity of the time or above, nothing has collapsed. Nor has
    it while KL rises by a tenth, and a hundredth of a nat, from one validation to the next: the model has begun slowly.

    Args:
        history: with `active_units`, `step` and `epoch`; see `framework.alarm`.
        latent_dim: D.
        kl: the name of the metric that is E KL(q(z|x)‖p), nats; None where there is none.
        weights: of the terms, by label.
        least: nats of E KL(q(z|x)‖p) that are no collapse.
        capacity: of the term `kl`, nats; None where it has none.
        conditional: whether the decoder is told labels.
    """
    recent = history[-IN_A_ROW:]
    if len(history) < IN_A_ROW or not all(_is_collapsed(past, kl, least, capacity) for past in recent):
        return None
    last = history[-1]
    if _rises([past.get(kl, math.nan) for past in recent] if kl else []):
        return None
    alike = "" if conditional else ", and all samples look alike"
    sentence = f"posterior collapse: {_found(last, latent_dim, kl, least)}: q(z|x) hardly depends on x{alike}."
    if not weights:
        return f"{sentence} A smaller learning rate, or another network, may help"
    lower = f"{sentence} Lower the weight of the divergence ({_in_words(weights, last)})"
    if _is_running(weights, last):
        return lower
    return f"{lower}, or let it grow from 0: weight={{name: linear, start: 0.0, end: …, steps: …}}"


def _found(metrics: Mapping[str, float], latent_dim: int, kl: str | None, least: float) -> str:
    """Return what was found, that which tells first: few units are not named where they are not few."""
    units = f"{metrics['active_units']:.3g} of {latent_dim} latent units are active"
    time = f"after {_epochs(metrics['epoch'])}"
    if kl is None:
        return f"{units} {time}"
    information = f"z carries at most {metrics[kl]:.2g} nats of x"
    if metrics[kl] >= least:
        return f"{units} {time}, and {information}"
    return f"{information} {time}" + (f", and {units}" if metrics["active_units"] < LEAST_ACTIVE else "")


def _rises(values: Sequence[float]) -> bool:
    return bool(values) and values[-1] >= max(RISES * values[0], values[0] + LEAST_RISE)


def _epochs(count: float) -> str:
    return "1 epoch" if count == 1 else f"{count:g} epochs"


def _counters(metrics: Mapping[str, float]) -> Counters:
    return Counters(optimizer_steps=int(metrics.get("step", 0)), epoch=int(metrics["epoch"]))


def _is_running(weights: Weights, metrics: Mapping[str, float]) -> bool:
    """Return whether the weight of a term is to change yet."""
    now = _counters(metrics).optimizer_steps
    return any(now < weight.steps for weight in weights.values() if isinstance(weight, Schedule))


def _in_words(weights: Weights, metrics: Mapping[str, float]) -> str:
    now = _counters(metrics)
    return "now " + ", ".join(f"{label} {value_at(weight, now):g}" for label, weight in weights.items())


def poor_samples(history: History, *, latent_dim: int, weights: Weights) -> str | None:
    """Return what to say where codes lie off the prior: the weight of the latent loss is too low.

    That is so where `aggregate_mismatch` is above one nat a latent unit at two validations in a row, and does not fall
    by a tenth in between. What is drawn from the prior is then mostly where the decoder has never been: samples are
    poor, however good reconstructions are. Nothing is said while the schedule of a weight runs.

    Args:
        history: with `aggregate_mismatch` where the prior is N(0, I), and `epoch`; see `framework.alarm`.
        latent_dim: D.
        weights: of the terms, by label.
    """
    limit = MOST_MISMATCH * latent_dim
    found = [past["aggregate_mismatch"] for past in history if "aggregate_mismatch" in past]
    recent = found[-IN_A_ROW:]
    if len(recent) < IN_A_ROW or min(recent) <= limit or recent[-1] < STAYS * recent[-2]:
        return None
    last = history[-1]
    if _is_running(weights, last):
        return None
    mend = "Add a divergence"
    if weights:
        mend = f"Raise the weight of the divergence ({_in_words(weights, last)}), or add one"
    return (
        f"codes off the prior: aggregate_mismatch is {found[-1]:.3g} nats after {_epochs(last['epoch'])} (it was "
        f"{found[0]:.3g} at first, and {limit:g} would still do): the prior draws z where no code is, and samples are "
        f"poor, however good reconstructions are. {mend} of the aggregate posterior from the prior, such as mmd"
    )


def _is_collapsed(
    metrics: Mapping[str, float], kl: str | None, least: float, capacity: float | Schedule | None
) -> bool:
    if "active_units" not in metrics:  # in batches of one, or in records of an older version
        return False
    information = math.inf if kl is None else metrics.get(kl, math.inf)  # the term may be newer than the record
    if capacity is not None:
        enough = OF_A_CAPACITY * value_at(capacity, _counters(metrics))
        if enough <= 0 or information >= enough:
            return False
    return metrics["active_units"] < LEAST_ACTIVE or information < least
