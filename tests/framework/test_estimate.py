"""Estimates and their standard errors."""

from __future__ import annotations

import math

import pytest
import torch

from framework.estimate import Estimate


def test_a_mean_has_the_standard_error_of_independent_numbers() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    assert Estimate.of_mean(values) == Estimate(3.0, pytest.approx(math.sqrt(7 / 3)))
    assert Estimate.of_mean(values[:1]) == Estimate(1.0, None)


def test_the_jackknife_of_a_mean_is_that_of_the_means_of_groups() -> None:
    """Of equal groups: the standard deviation of their means, over the root of how many there are."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Estimate.by_jackknife(lambda sample: float(sample.sum(1).mean()), x)
    means = x.sum(1).view(20, 10).mean(0)  # example i is in the group i mod 10
    assert found.value == pytest.approx(float(x.sum(1).mean()))
    assert found.standard_error == pytest.approx(float(means.std()) / math.sqrt(10))


def test_the_jackknife_leaves_a_group_out_of_every_sample() -> None:
    x, y = torch.arange(20.0), torch.arange(40.0)
    seen = []

    def statistic(a: torch.Tensor, b: torch.Tensor) -> float:
        seen.append((len(a), len(b)))
        return float(a.sum() + b.sum())

    assert Estimate.by_jackknife(statistic, x, y).value == 970.0
    assert seen == [(18, 36)] * 10 + [(20, 40)]
