"""β and capacity around a divergence."""

from __future__ import annotations

import pytest
import torch

from framework import Counters, Keys, Objective, Schedule, Term
from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.beta import Beta
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.schedules.ramp import Linear


def test_it_is_one_term_named_after_its_divergence() -> None:
    kl = KL()
    assert Beta(beta=4.0, of=kl).terms() == {"kl": Term(kl, 4.0, None)}


@pytest.mark.parametrize(
    ("beta", "capacity", "expected"),
    [
        (4.0, None, 4 * 2.5),  # the KLs of the two examples are ½ and 4½
        (4.0, 1.0, 4 * (2.5 - 1)),  # of the mean: of each example it would be 4 · (½ + 3½)/2
        (4.0, 20.0, 4 * (20 - 2.5)),
        (Linear(start=0.0, end=4.0, steps=2), Linear(start=0.0, end=40.0, steps=2), 2 * (20 - 2.5)),
    ],
)
def test_its_value_of_a_batch(beta: float | Schedule, capacity: float | Schedule | None, expected: float) -> None:
    mean = torch.tensor([[1.0], [3.0]])
    objective = Objective({"beta": Term(Beta(beta=beta, of=KL(), capacity=capacity))})
    q, p = DiagonalGaussian(mean, torch.zeros(1)), StandardNormal(1, mean)
    total, parts = objective(q, p, mean, counters=Counters(optimizer_steps=1), keys=Keys(0, "test", 0))
    assert {label: value.item() for label, value in parts.items()} == {"beta/kl": 2.5}
    assert total.item() == pytest.approx(expected)


def test_weight_and_capacity_may_be_schedules() -> None:
    beta, capacity, mmd = Linear(start=0.0, end=4.0, steps=5), Linear(start=0.0, end=25.0, steps=9), MMD(latent_dim=2)
    assert Beta(beta=beta, of=mmd, capacity=capacity).terms() == {"mmd": Term(mmd, beta, capacity)}
