"""The KL divergence as a part: one value an example, and how it was found."""

from __future__ import annotations

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.kl import KL


def test_it_is_torchs_for_each_example() -> None:
    mean, log_scale = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = kl_divergence(Normal(mean, log_scale.exp()), Normal(0 * mean, 0 * mean + 1)).sum(-1)
    kl = KL()
    value = kl(DiagonalGaussian(mean, log_scale), StandardNormal(3, mean), torch.empty(0))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)  # float64: a few dozen roundings
    assert kl.estimator == "closed form"


def test_it_is_exact_for_a_gaussian_in_torchs_words() -> None:
    mean = torch.ones(4, 3)
    kl = KL()
    value = kl(Independent(Normal(mean, mean), 1), StandardNormal(3, mean), torch.empty(0))
    assert torch.equal(value, torch.full((4,), 1.5))  # ½ Σ μ²
    assert kl.estimator == "closed form"


def test_it_is_zero_exactly_when_the_two_agree() -> None:
    zeros = torch.zeros(4, 3)
    assert not KL()(DiagonalGaussian(zeros, zeros), StandardNormal(3, zeros), zeros).any()


def test_it_says_when_it_is_an_estimate() -> None:
    zeros = torch.zeros(4, 3)
    q = DiagonalGaussian(zeros, zeros)
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    p = MixtureSameFamily(Categorical(torch.ones(1)), DiagonalGaussian(zeros[:1] + 1, zeros[:1]), validate_args=False)
    kl = KL()
    # log N(z; 0, I) − log N(z; 1, I) = ½ Σ ((z − 1)² − z²)
    torch.testing.assert_close(kl(q, p, z), 0.5 * ((z - 1) ** 2 - z**2).sum(1))
    assert kl.estimator == "Monte Carlo, one sample"
