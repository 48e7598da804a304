"""The divergence of each factor of a product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from torch.distributions.kl import kl_divergence

from framework.discrete import OneHotLogits
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian, StandardNormal
from framework.factors import kl_of_factors

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


PAIRS: list[tuple[Distribution, Distribution, int]] = [
    (DiagonalGaussian(normal(5, 3), normal(5, 3)), StandardNormal(3, torch.zeros((), dtype=torch.float64)), 3),
    (DiagonalGaussian(normal(5, 3), normal(5, 3)), DiagonalGaussian(normal(3), normal(3)), 3),
    (DiagonalGaussian(normal(5, 3), normal(3)), DiagonalGaussian(normal(3), normal(1)), 3),
    (BernoulliLogits(normal(5, 4)), BernoulliLogits(normal(4)), 4),
    (OneHotLogits(normal(5, 2, 3)), OneHotLogits(normal(2, 3)), 2),
]


@pytest.mark.parametrize(("q", "p", "count"), PAIRS, ids=lambda value: type(value).__name__)
def test_they_sum_to_the_divergence_of_the_whole(q: Distribution, p: Distribution, count: int) -> None:
    parts = kl_of_factors(q, p)
    assert parts is not None
    assert parts.shape == (5, count)
    assert (parts >= 0).all()
    torch.testing.assert_close(parts.sum(-1), kl_divergence(q, p))  # float64 rounding


def test_each_is_that_of_its_coordinate() -> None:
    mean, log_scale = normal(5, 3), normal(5, 3)
    parts = kl_of_factors(DiagonalGaussian(mean, log_scale), StandardNormal(3, mean[0, 0]))
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(parts, kl_divergence(Normal(mean, log_scale.exp()), Normal(zero, one)))  # torch's own


def test_what_is_no_product_has_none() -> None:
    standard = StandardNormal(3, torch.zeros(()))
    assert kl_of_factors(Delta(torch.zeros(2, 3)), standard) is None
    assert kl_of_factors(DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3)), Delta(torch.zeros(3))) is None
