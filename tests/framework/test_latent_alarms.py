"""When the two failures of a latent-variable model are said, and in what words."""

from __future__ import annotations

import math

import pytest

from framework.alarm import Alarm
from framework.divergence import Term
from framework.latent_alarms import latent_alarms
from framework.objective import Objective
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.schedules.ramp import Linear

D = 16


def collapse_and_samples(objective: Objective | None = None, kl: str | None = "kl") -> tuple[Alarm, Alarm]:
    collapse, samples = latent_alarms(D, objective or Objective({"kl": Term(KL(), 20.0)}), kl)
    return collapse, samples


def validations(**values: list[float]) -> list[dict[str, float]]:
    columns = {"epoch": [epoch + 1 for epoch in range(len(next(iter(values.values()))))], **values}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("active", "kl", "is_said"),
    [
        ([0.0, 0.0], [0.0, 0.0], True),
        ([0.9, 0.9], [5.0, 5.0], True),
        ([7.2, 3.5], [0.4, 0.4], True),  # weight 20: units that carry a thousandth of a nat
        ([16.0, 11.5], [1.4, 3.1], False),  # weight 10
        ([1.0, 1.0], [0.7, 0.7], False),  # at the thresholds
        ([16.0, 0.0], [20.0, 0.0], False),  # once
        ([0.0, 16.0], [0.0, 20.0], False),  # no more
        ([0.0, 16.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0], True),
        ([0.0], [0.0], False),
        ([0.0, 0.0], [0.3, 0.4], False),  # it has begun slowly
        ([0.0, 0.0], [0.4, 0.43], True),
        ([0.0, 0.0], [0.001, 0.002], True),  # noise
    ],
)
def test_collapse_is_said_where_two_validations_in_a_row_have_it(
    active: list[float], kl: list[float], is_said: bool
) -> None:
    collapse, samples = collapse_and_samples()
    history = validations(active_units=active, kl=kl, aggregate_mismatch=[0.1] * len(kl))
    assert (collapse(history) is not None) is is_said
    assert samples(history) is None


@pytest.mark.parametrize(
    ("mismatch", "is_said"),
    [
        ([74.5, 85.7], True),  # weight 0.001
        ([51.7, 52.1, 48.1], True),  # weight 0.01
        ([15.4, 11.1, 8.4], False),  # weight 0.1
        ([16.5, 0.4], False),  # the adversarial autoencoder
        ([80.0, 60.0, 45.0], False),  # on its way: a weight that grows
        ([16.0, 16.0], False),  # at the threshold
        ([99.0], False),
        ([0.2, 0.2, 17.0, 18.0], True),
    ],
)
def test_poor_samples_are_said_where_the_mismatch_stays(mismatch: list[float], is_said: bool) -> None:
    collapse, samples = collapse_and_samples()
    history = validations(active_units=[16.0] * len(mismatch), kl=[25.0] * len(mismatch), aggregate_mismatch=mismatch)
    assert (samples(history) is not None) is is_said
    assert collapse(history) is None


@pytest.mark.parametrize(
    ("kl", "most", "is_said"),
    [
        ([0.6, 0.5], math.log(2), False),  # one bit, mostly sure
        ([0.6, 0.5], math.inf, True),
        ([0.3, 0.3], math.log(2), True),
        ([0.6, 0.6], math.log(3), False),
        ([0.6, 0.6], 2 * math.log(2), True),  # half of two bits is log 2
    ],
)
def test_a_bit_cannot_tell_more_than_it_has(kl: list[float], most: float, is_said: bool) -> None:
    collapse, _ = latent_alarms(1, Objective({"kl": Term(KL())}), "kl", most)
    assert (collapse(validations(active_units=[1.0, 1.0], kl=kl)) is not None) is is_said


@pytest.mark.parametrize(
    ("step", "active", "kl", "is_said"),
    [
        ([0, 100], [0.0, 0.0], [0.0, 0.1], False),  # a capacity of 0 and 0.1, as was asked for
        ([100, 200], [0.0, 0.0], [0.09, 0.18], False),
        ([100, 200], [2.0, 2.0], [0.09, 0.18], False),
        ([100, 200], [0.0, 0.0], [0.0, 0.0], True),
        ([5000, 5100], [0.0, 0.0], [0.1, 0.1], True),  # a capacity of 5
        ([5000, 5100], [16.0, 16.0], [4.9, 5.0], False),
        ([5000, 5100], [16.0, 16.0], [1.0, 1.0], False),  # behind, and above log 2
    ],
)
def test_a_divergence_at_its_capacity_has_not_collapsed(
    step: list[float], active: list[float], kl: list[float], is_said: bool
) -> None:
    """A capacity that grows by a thousandth of a nat a step, to 25."""
    capacity = Linear(start=0.0, end=25.0, steps=25_000)
    collapse, _ = collapse_and_samples(Objective({"kl": Term(KL(), 30.0, capacity)}))
    assert (collapse(validations(step=step, active_units=active, kl=kl)) is not None) is is_said


def test_what_is_said_of_a_collapse() -> None:
    collapse, _ = collapse_and_samples()
    assert collapse(validations(active_units=[16.0, 16.0], kl=[0.41, 0.42])) == (
        "posterior collapse: z carries at most 0.42 nats of x after 2 epochs: "
        "q(z|x) hardly depends on x, and all samples look alike. Lower the weight of the divergence (now kl 20), or "
        "let it grow from 0: weight={name: linear, start: 0.0, end: …, steps: …}"
    )


def test_a_collapse_without_a_divergence_is_no_weights_fault() -> None:
    collapse, _ = collapse_and_samples(Objective({}), None)
    said = collapse(validations(active_units=[0.0, 0.0]))
    assert said is not None
    assert said.endswith("all samples look alike. A smaller learning rate, or another network, may help")
    assert "nats of x" not in said


def test_what_is_said_of_poor_samples() -> None:
    _, samples = collapse_and_samples(Objective({"kl": Term(KL(), 0.001), "mmd": Term(MMD(latent_dim=D), 0.0)}))
    assert samples(validations(aggregate_mismatch=[74.466, 85.745])) == (
        "codes off the prior: aggregate_mismatch is 85.7 nats after 2 epochs (it was 74.5 at first, and 16 would still "
        "do): the prior draws z where no code is, and samples are poor, however good reconstructions are. Raise the "
        "weight of the divergence (now kl 0.001, mmd 0), or add one of the aggregate posterior from the prior, such as "
        "mmd"
    )


def test_an_autoencoder_without_a_divergence_is_told_to_add_one() -> None:
    _, samples = collapse_and_samples(Objective({}), None)
    said = samples(validations(aggregate_mismatch=[82.0, 84.0]))
    assert said is not None
    assert "Add a divergence of the aggregate posterior from the prior, such as mmd" in said


def test_records_that_lack_the_metrics_say_nothing() -> None:
    for alarm in collapse_and_samples():
        assert alarm(validations(objective=[100.0, 100.0])) is None
    collapse, _ = collapse_and_samples()
    assert collapse([{"epoch": 1, "active_units": 16.0}, *validations(active_units=[16.0], kl=[0.1])]) is None


def test_what_tells_is_named_first() -> None:
    collapse, _ = collapse_and_samples()
    few = collapse(validations(active_units=[0.5, 0.5], kl=[0.1, 0.1]))
    assert few is not None
    assert "z carries at most 0.1 nats of x after 2 epochs, and 0.5 of 16 latent units are active: q(z|x)" in few
    units = collapse(validations(active_units=[0.5, 0.5], kl=[5.0, 5.0]))
    assert units is not None
    assert "0.5 of 16 latent units are active after 2 epochs, and z carries at most 5 nats of x: q(z|x)" in units


def test_one_epoch_is_singular() -> None:
    collapse, samples = collapse_and_samples()
    half = [{"epoch": 0.5, "active_units": 0.0, "kl": 0.0, "aggregate_mismatch": 99.0}]
    for alarm in (collapse, samples):
        said = alarm([*half, {**half[0], "epoch": 1}])
        assert said is not None
        assert "after 1 epoch" in said
        assert "epochs" not in said


def test_the_weight_is_the_one_of_the_time_and_is_left_to_grow() -> None:
    """A weight that grows to 20 in 1,000 steps."""
    weight = Linear(start=0.0, end=20.0, steps=1_000)
    collapse, samples = collapse_and_samples(Objective({"kl": Term(KL(), weight)}))
    early, late = ({"step": [first, first + 100]} for first in (0, 900))
    said = collapse(validations(**early, active_units=[0.0, 0.0], kl=[0.1, 0.1]))
    assert said is not None
    assert said.endswith("Lower the weight of the divergence (now kl 2)")
    said = collapse(validations(**late, active_units=[0.0, 0.0], kl=[0.1, 0.1]))
    assert said is not None
    assert "(now kl 20), or let it grow from 0" in said
    assert samples(validations(**early, aggregate_mismatch=[80.0, 80.0])) is None
    assert samples(validations(**late, aggregate_mismatch=[80.0, 80.0])) is not None


def test_labels_tell_samples_of_a_conditional_model_apart() -> None:
    collapse, _ = latent_alarms(D, Objective({"kl": Term(KL())}), "kl", conditional=True)
    said = collapse(validations(active_units=[0.0, 0.0], kl=[0.1, 0.1]))
    assert said is not None
    assert "q(z|x) hardly depends on x. Lower" in said
