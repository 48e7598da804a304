"""Mutual information, total correlation and KL(q(z)‖p) against the closed forms of a linear-Gaussian model."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from framework import information as module
from framework.distributions import BernoulliLogits, DiagonalGaussian, StandardNormal
from framework.estimate import Estimate
from framework.information import (
    aggregate_log_density,
    bounds,
    information,
    joined,
    marginal_log_density,
)
from tests.framework.linear_gaussian import LinearPosterior, linear_gaussian, linear_posterior

COUNT, BATCH = 4_000, 100
PRIOR = StandardNormal(3, torch.zeros((), dtype=torch.float64))


@pytest.fixture(scope="module")
def posterior() -> LinearPosterior:
    return linear_posterior(linear_gaussian(seed=0), seed=0)


@pytest.fixture(scope="module")
def batches(posterior: LinearPosterior) -> list[tuple[Distribution, Tensor]]:
    x = posterior.model.sample(COUNT, seed=3)
    torch.manual_seed(0)
    return [(q := posterior.distribution(rows), q.sample()) for rows in x.split(BATCH)]


def test_every_number_agrees_with_its_closed_form(
    posterior: LinearPosterior, batches: list[tuple[Distribution, Tensor]]
) -> None:
    found = information(batches, PRIOR)
    truths = {
        "kl": posterior.kl(),
        "mutual_information": posterior.mutual_information(),
        "aggregate_kl": posterior.aggregate_kl(),
        "aggregate_kl_by_difference": posterior.aggregate_kl(),
        "total_correlation": posterior.total_correlation(),
        "dimension_wise_kl": posterior.marginal_kl().sum(),
    }
    assert float(truths["mutual_information"]) > 1
    assert float(truths["total_correlation"]) > 0.1
    for name, truth in truths.items():
        estimate: Estimate = getattr(found, name)
        assert estimate.standard_error is not None
        assert estimate.standard_error < 0.15, name
        # A mixture of 4,000 stands for the population's: too little information by about e^1.6/8,000 nats, far below.
        assert abs(estimate.value - float(truth)) < 3 * estimate.standard_error, name


def test_the_sandwich_holds_the_truth(posterior: LinearPosterior, batches: list[tuple[Distribution, Tensor]]) -> None:
    lower, upper = bounds(batches)
    assert lower is not None
    assert upper is not None
    assert lower.standard_error is not None
    assert upper.standard_error is not None
    truth = float(posterior.mutual_information())
    assert lower.value - 3 * lower.standard_error < truth < upper.value + 3 * upper.standard_error
    assert lower.value < upper.value
    # With few examples a batch the bounds part, and the lower one meets its ceiling.
    x = posterior.model.sample(COUNT, seed=4)
    sharp = [DiagonalGaussian(100 * q.mean, q.log_scale) for q in (posterior.distribution(r) for r in x.split(4))]
    low, high = bounds([(q, q.sample()) for q in sharp])
    assert low is not None
    assert high is not None
    assert low.value == pytest.approx(math.log(4), abs=1e-6)
    assert high.value > 10


def test_the_parts_add_up(batches: list[tuple[Distribution, Tensor]]) -> None:
    found = information(batches, PRIOR)
    assert found.total_correlation is not None
    assert found.dimension_wise_kl is not None
    sampled = sum(float((q.log_prob(z) - PRIOR.log_prob(z)).sum()) for q, z in batches) / COUNT
    parts = found.mutual_information.value + found.total_correlation.value + found.dimension_wise_kl.value
    assert parts == pytest.approx(sampled, abs=1e-9)
    assert found.total_correlation.value + found.dimension_wise_kl.value == pytest.approx(found.aggregate_kl.value)


def test_a_mixture_in_one_product_is_the_sum_of_its_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mean, log_scale = 50 + 3 * torch.randn(300, 4), torch.randn(300, 4) - 1
    q = DiagonalGaussian(mean, log_scale)
    z = q.sample()
    plain = Independent(Normal(mean.double(), log_scale.double().exp(), validate_args=False), 1, validate_args=False)
    expected = plain.log_prob(z.double().unsqueeze(1)).logsumexp(1) - math.log(300)
    assert torch.allclose(aggregate_log_density([q], z), expected, rtol=0, atol=1e-8)
    parts = [DiagonalGaussian(mean[rows], log_scale[rows]) for rows in torch.arange(300).split(70)]
    assert torch.allclose(aggregate_log_density(parts, z), expected, rtol=0, atol=1e-8)
    own = plain.log_prob(z.double())
    assert torch.allclose(aggregate_log_density(parts, z, own=own), expected, rtol=0, atol=1e-8)
    monkeypatch.setattr(module, "PAIRS", 70 * 16)  # 16 rows at a time
    assert torch.allclose(aggregate_log_density(parts, z, own=own), expected, rtol=0, atol=1e-8)
    # A family that is not known as Gaussian goes pair by pair, in float32.
    other = Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)
    assert torch.allclose(aggregate_log_density([other], z), expected, rtol=0, atol=1e-3)


def test_marginals_are_mixtures_of_one_dimension() -> None:
    torch.manual_seed(0)
    mean, log_scale = 50 + 3 * torch.randn(300, 4), 2 * torch.randn(300, 4) - 3
    q = DiagonalGaussian(mean, log_scale)
    z = q.sample()
    pairs = Normal(mean.double(), log_scale.double().exp(), validate_args=False).log_prob(z.double().unsqueeze(1))
    expected = (pairs.logsumexp(1) - math.log(300)).sum(1)
    # float32: (z − μ)/σ near 50/e^−9 is off by 4e-6·e^9 = 3 % of a σ at worst, and far less as a rule
    assert torch.allclose(marginal_log_density(q, z), expected, rtol=0, atol=0.05)
    double = DiagonalGaussian(mean.double(), log_scale.double())
    assert torch.allclose(marginal_log_density(double, z.double()), expected, rtol=0, atol=1e-9)


def test_a_posterior_that_does_not_depend_on_x_says_nothing() -> None:
    torch.manual_seed(0)
    batches: list[tuple[Distribution, Tensor]] = []
    for _ in range(10):
        q = DiagonalGaussian(torch.ones(50, 3, dtype=torch.float64), torch.zeros(50, 3, dtype=torch.float64))
        batches.append((q, q.sample()))
    found = information(batches, PRIOR)
    assert found.mutual_information.value == pytest.approx(0, abs=1e-9)
    assert found.total_correlation is not None
    assert found.total_correlation.value == pytest.approx(0, abs=1e-9)
    assert found.kl.value == pytest.approx(1.5)
    assert found.aggregate_kl_by_difference.value == pytest.approx(1.5)


def test_latents_that_name_each_example_say_all_there_is() -> None:
    mean = 1_000 * torch.arange(64, dtype=torch.float64).unsqueeze(1).expand(-1, 3)
    q = DiagonalGaussian(mean, torch.zeros_like(mean))
    found = information([(q, q.sample())], PRIOR)
    assert found.mutual_information.value == pytest.approx(math.log(64))


def test_bits_agree_with_enumeration() -> None:
    """I(x;z) = Σ_x Σ_z 1/N q(z|x) log q(z|x)/q(z), summed over all values of three bits."""
    torch.manual_seed(0)
    q, p = BernoulliLogits(2 * torch.randn(500, 3)), BernoulliLogits(torch.zeros(3))
    values = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    pairs = q.log_prob(values.unsqueeze(1)).double()  # [8, 500]
    mixture = pairs.logsumexp(1, keepdim=True) - math.log(500)
    truth = float((pairs.exp() * (pairs - mixture)).sum()) / 500
    repeats = [BernoulliLogits(q.logits.repeat(10, 1)[rows]) for rows in torch.arange(5_000).split(500)]
    found = information([(one, one.sample()) for one in repeats], p)
    assert found.mutual_information.standard_error is not None
    assert abs(found.mutual_information.value - truth) < 3 * found.mutual_information.standard_error
    assert joined(repeats) is None


def test_a_last_batch_that_is_smaller_has_no_part_in_the_bounds() -> None:
    torch.manual_seed(0)
    whole = DiagonalGaussian(torch.randn(10, 2), torch.zeros(10, 2))
    last = DiagonalGaussian(torch.randn(3, 2), torch.zeros(3, 2))
    first = (whole, whole.sample())
    assert bounds([first, (last, last.sample())]) == bounds([first])
    assert bounds([first])[0].standard_error is None  # type: ignore[union-attr]
    one = DiagonalGaussian(torch.randn(1, 2), torch.zeros(1, 2))
    assert bounds([(one, one.sample())]) == (None, None)


def test_a_mean_comes_with_its_standard_error() -> None:
    assert Estimate.of_mean(torch.tensor([1.0, 2.0, 3.0])) == Estimate(2.0, 1 / math.sqrt(3))
    assert Estimate.of_mean(torch.tensor([2.0])) == Estimate(2.0, None)


@pytest.mark.parametrize("gaussian", [True, False])
def test_the_bounds_are_the_same_whatever_number_of_pairs_is_made_at_a_time(
    gaussian: bool, batches: list[tuple[Distribution, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not gaussian:
        batches = [(Independent(Normal(q.mean, q.stddev), 1), z) for q, z in batches]
    whole = bounds(batches[:3])
    monkeypatch.setattr(module, "PAIRS", 700)  # 7 rows of 100, or 2 of 100 · 3
    for one, other in zip(whole, bounds(batches[:3]), strict=True):
        assert one is not None
        assert other is not None
        assert one.value == pytest.approx(other.value, rel=1e-9)  # float64


def test_the_pairs_of_a_batch_take_no_more_memory_than_others(
    batches: list[tuple[Distribution, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAIRS", 700)
    rows: list[int] = []
    whole = module._pairs
    monkeypatch.setattr(module, "_pairs", lambda q, z: rows.append(len(z)) or whole(q, z))
    bounds(batches[:1])
    assert max(rows) == 7


@pytest.mark.parametrize("sigma", [1e-5, 1e-8, 1e-11])
@pytest.mark.parametrize("pairs", [200, 7 * 200, module.PAIRS])
def test_of_very_narrow_posteriors_the_information_is_log_n(
    sigma: float, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own terms cancel to nothing in a product of matrices, however many rows it has."""
    monkeypatch.setattr(module, "PAIRS", pairs)
    generator = torch.Generator().manual_seed(0)
    mean = 30 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    q = DiagonalGaussian(mean, torch.full_like(mean, math.log(sigma)))
    z = mean + sigma * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    found = information([(q, z)], StandardNormal(4, mean))
    assert found.mutual_information.value == pytest.approx(math.log(200), abs=1e-6)
    assert found.lower is not None
    assert found.lower.value == pytest.approx(math.log(200), abs=1e-6)
