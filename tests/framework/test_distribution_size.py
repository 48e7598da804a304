"""How many numbers a distribution is made of."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, ContinuousBernoulli, Distribution, Independent, MixtureSameFamily, Normal

from framework.distribution_size import numbers_an_event
from framework.distributions import BernoulliLogits, DiagonalGaussian
from framework.pixel_distributions import CategoricalPixels, DiscretizedLogistic

MIXTURE = MixtureSameFamily(Categorical(torch.ones(3, 7)), Independent(Normal(torch.zeros(3, 7, 2), 1.0), 1))


@pytest.mark.parametrize(
    ("distribution", "numbers"),
    [
        pytest.param(BernoulliLogits(torch.zeros(3, 1, 4, 4), 3), 16, id="logits"),
        pytest.param(DiagonalGaussian(torch.zeros(3, 5), torch.zeros(()), 1), 5, id="one scale for all"),
        pytest.param(CategoricalPixels(torch.zeros(3, 256, 1, 4, 4), 3), 256 * 16, id="256 logits a value"),
        pytest.param(DiscretizedLogistic(torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4), 3), 16, id="two parameters"),
        pytest.param(Independent(ContinuousBernoulli(logits=torch.zeros(3, 6)), 1), 6, id="wrapped"),
        pytest.param(MIXTURE, 14, id="a mixture's components"),
    ],
)
def test_it_counts_the_numbers_of_the_largest_tensor(distribution: Distribution, numbers: int) -> None:
    assert numbers_an_event(distribution) == numbers
