"""Active units, KL by dimension and MMD of codes, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily

from framework.codes import SCALES, count_active_units, kl_by_factor, mmd_to_prior
from framework.discrete import OneHotLogits
from framework.distributions import DiagonalGaussian, StandardNormal
from tests.framework.linear_gaussian import linear_gaussian, linear_posterior, standard_gaussian


def test_units_count_whose_means_move() -> None:
    torch.manual_seed(0)
    moves = torch.tensor([1.0, 0.2, 0.05, 0.0])  # variances 1, 0.04, 0.0025, 0
    assert count_active_units(3 + torch.randn(2_000, 4) * moves) == 2


def test_kl_by_dimension_is_the_closed_form_of_each() -> None:
    posterior = linear_posterior(linear_gaussian(seed=0), seed=0)
    x = posterior.model.sample(500, seed=1)
    p = StandardNormal(3, torch.zeros((), dtype=torch.float64))
    found = kl_by_factor([posterior.distribution(rows) for rows in x.split(200)], p)
    q = posterior.distribution(x)
    expected = 0.5 * (q.mean.square() + q.variance - q.variance.log() - 1).mean(0)
    assert found == pytest.approx(expected.tolist())
    assert sum(found) == pytest.approx(float(posterior.kl_of(x).mean()))


def test_one_hot_variables_have_one_number_each() -> None:
    q, p = OneHotLogits(torch.randn(5, 4, 3)), OneHotLogits(torch.zeros(4, 3))
    found = kl_by_factor([q], p)
    assert found is not None
    assert len(found) == 4
    entropy = -(q.logits.exp() * q.logits).sum(-1)  # KL to the uniform distribution is log 3 − H
    assert found == pytest.approx((torch.tensor(3.0).log() - entropy).mean(0).tolist(), rel=1e-5)


def test_a_prior_that_is_no_product_has_none() -> None:
    weights = Categorical(torch.ones(2), validate_args=False)
    p = MixtureSameFamily(weights, DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3)), validate_args=False)
    assert kl_by_factor([DiagonalGaussian(torch.zeros(4, 3), torch.zeros(4, 3))], p) is None


def test_mmd_agrees_with_the_integral_of_its_closed_form() -> None:
    """C/(C + r²) = ∫ C exp(−tC) exp(−t r²) dt, whose MMD² is known for Gaussians and each width 1/t."""
    posterior = linear_posterior(linear_gaussian(seed=0), seed=0, strength=0.15)
    torch.manual_seed(0)
    z = posterior.distribution(posterior.model.sample(2_000, seed=1)).sample()
    found = mmd_to_prior(z, standard_gaussian(3).sample(2_000, seed=2))
    truth = 0.0
    for scale in SCALES:
        width, step = 2 * 3 * scale, 0.05
        for log_t in torch.arange(-16.0, 6.0, step, dtype=torch.float64):
            t = float(log_t.exp()) / width
            truth += step * t * width * float(torch.tensor(-t * width).exp() * posterior.mmd_squared(1 / t))
    assert found.standard_error is not None
    assert found.standard_error < 0.1 * truth
    assert abs(found.value - truth) < 3 * found.standard_error


def test_mmd_of_one_distribution_is_zero_within_its_error() -> None:
    torch.manual_seed(0)
    found = mmd_to_prior(torch.randn(1_000, 4), torch.randn(1_000, 4))
    assert found.standard_error is not None
    assert abs(found.value) < 3 * found.standard_error < 0.02


def test_the_standard_error_of_mmd_is_its_spread() -> None:
    torch.manual_seed(0)
    found = [mmd_to_prior(0.5 + torch.randn(100, 2), torch.randn(100, 2)) for _ in range(60)]
    spread = torch.tensor([one.value for one in found]).std()
    claimed = torch.tensor([one.standard_error for one in found]).mean()
    # Ten groups know a spread to about 25 %, 60 numbers to 9 %; the mean of 60 jackknives is good to 4 %.
    assert float(claimed) == pytest.approx(float(spread), rel=0.35)
