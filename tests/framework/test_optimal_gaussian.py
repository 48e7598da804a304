"""The Gaussian of the best variance against torch's, and the running value against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from framework.optimal_gaussian import OptimalGaussian, OptimalVariance


def data() -> tuple[Tensor, Tensor]:
    mean, x = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return mean, x


def test_no_other_sigma_fits_the_batch_better() -> None:
    mean, x = data()
    best = OptimalGaussian(mean, OptimalVariance().double(), 2).log_prob(x)
    sigma = (x - mean).square().mean().sqrt()
    torch.testing.assert_close(best, Normal(mean, sigma).log_prob(x).sum((1, 2)), rtol=1e-12, atol=1e-12)  # float64
    for factor in (0.97, 1.03):
        assert Normal(mean, factor * sigma).log_prob(x).sum() < best.sum()


def test_the_gradient_is_that_of_the_best_likelihood() -> None:
    """−P/2 · log σ²(μ), summed over the batch, as if σ had been followed: its own gradient there is zero."""
    mean, x = data()
    mean.requires_grad_()
    (found,) = torch.autograd.grad(OptimalGaussian(mean, OptimalVariance().double(), 2).log_prob(x).sum(), mean)
    squared = (x - mean).square()
    (expected,) = torch.autograd.grad(-0.5 * squared.numel() * squared.mean().log(), mean)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # float64


def test_the_running_variance_is_a_mean_and_then_decays() -> None:
    variance = OptimalVariance().double()
    values = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    expected = 0.0
    for count, value in enumerate(values.tolist(), start=1):
        assert variance(torch.full((4, 3), value, dtype=torch.float64)).item() == pytest.approx(value)
        expected = expected + max(1 / count, 0.01) * (value - expected)
        assert variance.running.item() == pytest.approx(expected)
        if count == 50:
            assert expected == pytest.approx(values[:50].mean().item())


def test_evaluation_records_nothing_and_takes_examples_one_by_one() -> None:
    mean, x = data()
    variance = OptimalVariance().double()
    OptimalGaussian(mean, variance, 2).log_prob(x)
    before = {name: value.clone() for name, value in variance.state_dict().items()}
    assert set(before) == {"running", "batches"}
    variance.eval()
    whole = OptimalGaussian(mean, variance, 2).log_prob(2 * x)
    halves = [OptimalGaussian(mean[rows], variance, 2).log_prob(2 * x[rows]) for rows in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(whole, torch.cat(halves))
    assert all(torch.equal(before[name], value) for name, value in variance.state_dict().items())
    torch.testing.assert_close(whole, Normal(mean, before["running"].sqrt()).log_prob(2 * x).sum((1, 2)))


def test_a_perfect_fit_ends_at_the_authors_sigma() -> None:
    mean = torch.zeros(4, 3)
    density = OptimalGaussian(mean, OptimalVariance(), 1).log_prob(mean)
    assert density.tolist() == pytest.approx([3 * (6 - 0.5 * math.log(2 * math.pi))] * 4)  # log σ = −6


def test_samples_have_the_running_variance() -> None:
    variance = OptimalVariance()
    variance(torch.full((2, 2), 0.04))
    p = OptimalGaussian(torch.full((3,), 5.0), variance, 1)
    torch.manual_seed(0)
    x = p.sample((20_000,))
    assert (x.mean(0) - 5).abs().max() < 4 * 0.2 / math.sqrt(20_000)
    assert x.std().item() == pytest.approx(0.2, abs=4 * 0.2 / math.sqrt(2 * 60_000))
    torch.testing.assert_close(p.variance, torch.full((3,), 0.04))
