"""The sliced Wasserstein distance against scipy in one dimension, and the closed form of Gaussians."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import kstest, wasserstein_distance
from torch import Tensor
from torch.distributions import Independent, Normal

from framework import OptionError
from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.sliced_wasserstein import SlicedWasserstein, directions, sliced_wasserstein
from tests.framework.linear_gaussian import linear_gaussian, linear_posterior

POWERS = pytest.mark.parametrize("power", [1, 2])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def two_samples(count: int, dimensions: int) -> tuple[Tensor, Tensor]:
    return tuple(torch.randn(2, count, dimensions, dtype=torch.float64) * 1.5 + 0.3)  # type: ignore[return-value]


def by_assignment(a: np.ndarray, b: np.ndarray, power: int) -> float:
    """W_k^k of two samples on the line, by the best of all matchings."""
    cost = np.abs(a[:, None] - b) ** power
    return float(cost[linear_sum_assignment(cost)].mean())


@POWERS
@pytest.mark.parametrize("count", [1, 2, 25])
def test_one_dimension_is_the_wasserstein_distance(power: int, count: int) -> None:
    z, w = two_samples(count, 1)
    found = sliced_wasserstein(z, w, directions(7, z), power).item()  # directions are −1 and 1
    assert found == pytest.approx(by_assignment(z[:, 0].numpy(), w[:, 0].numpy(), power), rel=1e-12)
    if power == 1:
        assert found == pytest.approx(wasserstein_distance(z[:, 0].numpy(), w[:, 0].numpy()), rel=1e-12)


@POWERS
def test_it_is_the_mean_over_directions(power: int) -> None:
    (z, w), theta = two_samples(20, 4), directions(6, torch.zeros(1, 4, dtype=torch.float64))
    each = [by_assignment((z @ one).numpy(), (w @ one).numpy(), power) for one in theta]
    assert sliced_wasserstein(z, w, theta, power).item() == pytest.approx(np.mean(each), rel=1e-12)


def test_directions_are_uniform_on_the_sphere() -> None:
    """Length 1, and in three dimensions each coordinate is uniform in [−1, 1] (Archimedes); p above 0.001 each."""
    theta = directions(5000, torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(theta.norm(dim=1), torch.ones(5000, dtype=torch.float64))
    for coordinate in theta.T:
        assert kstest(coordinate.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_two_gaussians() -> None:
    """For q(z) = N(m, Σ), W_2² along θ is (θᵀm)² + (√(θᵀΣθ) − 1)²; 20 samples of 2000, three standard errors.

    The bias of a sample of 2000, 0.004 for k = 2 at the most, is allowed for.
    """
    model = linear_gaussian(0)
    aggregate = linear_posterior(model, seed=1).aggregate
    theta = directions(50, torch.zeros(1, 3, dtype=torch.float64))
    scale = (theta @ aggregate.covariance * theta).sum(1).sqrt()
    expected = ((theta @ aggregate.mean).square() + (scale - 1).square()).mean().item()
    found = torch.stack(
        [
            sliced_wasserstein(z, torch.randn(2000, 3, dtype=torch.float64), theta, 2)
            for z in aggregate.sample(20 * 2000, seed=2).chunk(20)
        ]
    )
    assert abs(found.mean().item() - expected) < 3 * found.std().item() / math.sqrt(20) + 0.004
    assert expected > 0.1


def test_the_bias_is_the_stated_one() -> None:
    """0.04 at B = 128 for k = 2, q(z) = p = N(0, I): to a tenth."""
    part, p = SlicedWasserstein(projections=100), StandardNormal(16, torch.zeros(()))
    values = torch.stack([part(p, p, p.sample((128,))) for _ in range(100)])
    assert values.mean().item() == pytest.approx(0.042, abs=0.004)


@POWERS
def test_zero_only_if_the_samples_coincide(power: int) -> None:
    z, w = two_samples(30, 3)
    theta = directions(20, z)
    assert sliced_wasserstein(z, z[torch.randperm(30)], theta, power).item() == pytest.approx(0.0, abs=1e-12)
    assert sliced_wasserstein(z, w, theta, power) > 0.01


@POWERS
def test_gradcheck(power: int) -> None:
    (z, w), theta = two_samples(6, 3), directions(4, torch.zeros(1, 3, dtype=torch.float64))
    z, w = z.requires_grad_(), w.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: sliced_wasserstein(a, b, theta, power), (z, w))


@POWERS
def test_part_draws_the_prior_and_then_directions(power: int) -> None:
    part = SlicedWasserstein(projections=5, power=power)
    q, p = DiagonalGaussian(torch.ones(50, 3), torch.zeros(50, 3)), StandardNormal(3, torch.zeros(()))
    z = q.rsample()
    torch.manual_seed(5)
    value = part(q, p, z)
    torch.manual_seed(5)
    w = torch.randn(50, 3)
    assert torch.equal(value, sliced_wasserstein(z, w, directions(5, z), power))
    assert not torch.equal(value, part(q, p, z))  # other directions each time
    assert part.aggregate
    assert not part.rewardable
    assert part.estimator == f"W_{power} to the power {power}, mean of 5 random projections of each batch"


def test_a_learned_prior_gets_a_gradient() -> None:
    mean = torch.full((3,), 2.0, requires_grad=True)
    p = Independent(Normal(mean, torch.ones(3), validate_args=False), 1, validate_args=False)
    SlicedWasserstein()(p, p, torch.randn(50, 3)).backward()
    assert mean.grad is not None
    assert (mean.grad > 0).all()  # towards the sample, which lies about the origin


@POWERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_latents_far_away_are_finite(power: int, dtype: torch.dtype) -> None:
    """10⁶ away the distance is 10⁶ times the mean of |θ₁|, or its square, 1/D."""
    z = torch.zeros(64, 2, dtype=dtype)
    z[:, 0] = 1e6
    z.requires_grad_()
    value = SlicedWasserstein(projections=5000, power=power)(None, StandardNormal(2, z.detach()), z)  # type: ignore[arg-type]
    value.backward()
    assert value.dtype == dtype
    # a mean of 5000 directions, whose own spread is of size 1
    assert value.item() == pytest.approx(1e6 * 2 / math.pi if power == 1 else 1e12 / 2, rel=0.05)
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projections": 0}, "projections: expected 1 or more, found 0"),
        ({"power": 3}, "power: expected 1 or 2, found 3"),
    ],
)
def test_options_that_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        SlicedWasserstein(**options)
