"""β and capacity around a divergence."""

from __future__ import annotations

from framework import Term
from framework_plugins.divergences.beta import Beta
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.schedules.ramp import Linear


def test_it_is_one_term_named_after_its_divergence() -> None:
    kl = KL()
    assert Beta(beta=4.0, of=kl).terms() == {"kl": Term(kl, 4.0, None)}


def test_weight_and_capacity_may_be_schedules() -> None:
    beta, capacity, mmd = Linear(start=0.0, end=4.0, steps=5), Linear(start=0.0, end=25.0, steps=9), MMD(latent_dim=2)
    assert Beta(beta=beta, of=mmd, capacity=capacity).terms() == {"mmd": Term(mmd, beta, capacity)}
