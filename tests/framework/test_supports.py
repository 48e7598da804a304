"""The range of one value of an event."""

from __future__ import annotations

import torch
from torch.distributions import Beta, Independent, constraints

from framework.distributions import BernoulliLogits, StandardNormal
from framework.supports import support_of_a_value


def test_it_is_that_of_one_value() -> None:
    assert support_of_a_value(BernoulliLogits(torch.zeros(2, 3), 1)) is constraints.boolean
    assert support_of_a_value(StandardNormal(2, torch.zeros(()))) is constraints.real
    beta = Beta(torch.ones(2, 3), torch.ones(2, 3))
    assert support_of_a_value(beta) is support_of_a_value(Independent(beta, 1)) is constraints.unit_interval
