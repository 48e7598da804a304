"""Active units by numpy; the mismatch by torch's divergences and by quadrature, its bias by the digamma function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import digamma
from scipy.stats import norm
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.distributions import kl_divergence as torchs

from framework.distributions import Delta, DiagonalGaussian, StandardNormal
from framework.latent_health import active_units, aggregate_mismatch, latent_health


def posterior(count: int, dimension: int) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(0)
    mean, log_scale = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(1.5 * mean + 0.7, 0.4 * log_scale)


def with_moments(mean: Tensor, covariance: Tensor, count: int) -> Tensor:
    """Codes [count, D] that have exactly this mean and this (unbiased) covariance."""
    codes = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    codes = codes - codes.mean(0)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(codes.T.cov()), codes.T, upper=False)  # [D, count]
    return (torch.linalg.cholesky(covariance) @ whitened).T + mean


def test_active_units_are_those_whose_means_have_a_variance_above_a_hundredth() -> None:
    scales = torch.tensor([0.0, 0.05, 0.09, 0.11, 1.0, 30.0], dtype=torch.float64)
    means = posterior(64, 6).mean
    means = (means - means.mean(0)) / means.std(0) * scales
    wide = DiagonalGaussian(means, torch.zeros_like(means))
    assert np.count_nonzero(means.numpy().var(0, ddof=1) > 0.01) == 3
    assert active_units(wide) == active_units(Delta(means)) == 3


def test_a_posterior_that_ignores_x_has_no_active_unit() -> None:
    ignored = torch.tensor([3.0, -1.0]).expand(8, 2)
    assert active_units(DiagonalGaussian(ignored, torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))) == 0


def test_the_mismatch_is_the_divergence_of_the_marginals_moments() -> None:
    q = posterior(50, 3)
    variance = q.mean.numpy().var(0, ddof=1) + q.variance.numpy().mean(0)
    moments = Normal(q.mean.mean(0), torch.tensor(variance).sqrt(), validate_args=False)
    expected = torchs(moments, Normal(torch.zeros(3), torch.ones(3), validate_args=False)).sum()
    # float64: two orders of the same sums
    assert aggregate_mismatch(q).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_mismatch_of_correlated_gaussian_codes_leaves_their_total_correlation_out() -> None:
    mean = torch.tensor([0.5, -0.2, 0.0], dtype=torch.float64)
    covariance = torch.tensor([[1.5, 0.9, 0.1], [0.9, 1.0, -0.3], [0.1, -0.3, 0.4]], dtype=torch.float64)
    prior = MultivariateNormal(torch.zeros_like(mean), torch.eye(3, dtype=torch.float64), validate_args=False)
    whole = torchs(MultivariateNormal(mean, covariance, validate_args=False), prior)  # KL(q(z)‖p)
    total_correlation = 0.5 * (covariance.diagonal().log().sum() - covariance.logdet())
    codes = Delta(with_moments(mean, covariance, 40))
    assert total_correlation > 0.3
    assert aggregate_mismatch(codes).item() == pytest.approx((whole - total_correlation).item(), abs=1e-9)


@pytest.mark.parametrize(("distance", "scale"), [(0.9, 0.4), (3.0, 1.0), (0.0, 0.5)])
def test_it_is_a_lower_bound_and_exact_for_a_gaussian_aggregate(distance: float, scale: float) -> None:
    def log_ratio(z: float) -> float:
        q = 0.5 * (norm.pdf(z, -distance, scale) + norm.pdf(z, distance, scale))
        return float(q * (math.log(q) - norm.logpdf(z))) if q > 0 else 0.0

    exact, _ = quad(log_ratio, -12, 12, points=[-distance, distance], limit=200)
    means = torch.tensor([-distance, distance], dtype=torch.float64).repeat(20_000).unsqueeze(1)
    found = aggregate_mismatch(DiagonalGaussian(means, torch.full_like(means, math.log(scale)))).item()
    if distance:
        assert found < exact - 0.01
    else:  # quadrature errs by 1e-8
        assert found == pytest.approx(exact, abs=1e-6)


def test_its_bias_is_that_of_a_mean_and_a_variance_a_unit() -> None:
    # For B draws of N(0, 1): E m² = 1/B, E s = 1, E log s = ψ((B − 1)/2) + log 2 − log(B − 1).
    batch, dimension, repeats = 32, 8, 4_000
    draws = torch.randn(repeats, batch, dimension, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = torch.stack([aggregate_mismatch(Delta(codes)) for codes in draws])
    log_variance = digamma((batch - 1) / 2) + math.log(2) - math.log(batch - 1)
    bias = dimension * 0.5 * (1 / batch - log_variance)
    error = 4 * found.std().item() / repeats**0.5
    assert abs(found.mean().item() - bias) < error < 0.01
    assert bias == pytest.approx(dimension / batch, rel=0.05)


def test_codes_that_are_all_alike_have_a_finite_mismatch() -> None:
    # ½ (m² + s − log s − 1) at the least variance, 1e-12
    found = aggregate_mismatch(Delta(torch.full((4, 1), 2.0, dtype=torch.float64)))
    assert found.item() == pytest.approx(0.5 * (4 + 12 * math.log(10) - 1), abs=1e-9)


def test_it_is_zero_at_the_priors_moments() -> None:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * math.sqrt(0.5 * 0.75)  # an unbiased variance of ¾
    q = DiagonalGaussian(means, torch.full_like(means, math.log(0.5)))
    assert aggregate_mismatch(q).item() == pytest.approx(0, abs=1e-12)


def test_the_mismatch_is_of_the_standard_normal_alone() -> None:
    q = posterior(4, 2)
    other = DiagonalGaussian(torch.zeros(2), torch.zeros(2))
    assert list(latent_health(q, StandardNormal(2, torch.zeros(())))) == ["active_units", "aggregate_mismatch"]
    assert list(latent_health(q, other)) == ["active_units"]


def test_a_single_example_has_no_variance() -> None:
    assert latent_health(posterior(1, 2), StandardNormal(2, torch.zeros(()))) == {}
