"""The Sinkhorn divergence against linear programming, the dual by another optimiser, Gaussians, finite differences."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog, minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Independent, Normal

from framework import OptionError
from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.sinkhorn import Sinkhorn, _transport_cost, sinkhorn_divergence

EXACT = (1e-10, 100_000)  # tolerance and iterations


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def two_samples(n: int, m: int, dimensions: int = 2) -> tuple[Tensor, Tensor]:
    z = 1.3 * torch.randn(n, dimensions, dtype=torch.float64) + 0.4
    return z, torch.randn(m, dimensions, dtype=torch.float64)


def squared_distances(z: Tensor, w: Tensor) -> np.ndarray:
    return cdist(z.numpy(), w.numpy(), "sqeuclidean")


def by_dual_ascent(cost: np.ndarray, epsilon: float) -> float:
    """OT_ε by BFGS on the semi-dual max_f mean f + mean T(f), which has no constraint."""
    rows = len(cost)

    def negative(f: np.ndarray) -> tuple[float, np.ndarray]:
        exponent = (f[:, None] - cost) / epsilon - math.log(rows)
        g = -epsilon * logsumexp(exponent, axis=0)
        plan = np.exp(exponent + g / epsilon) / cost.shape[1]
        return -(f.mean() + g.mean()), plan.sum(1) - 1 / rows

    found = minimize(negative, np.zeros(rows), jac=True, method="BFGS", options={"gtol": 1e-9})
    return -float(found.fun)


@pytest.mark.parametrize("epsilon", [0.3, 2.0, 50.0])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7)])
def test_the_entropic_cost_is_the_dual_s_maximum(n: int, m: int, epsilon: float) -> None:
    z, w = two_samples(n, m)
    for x, y in ((z, w), (z, z)):
        found = _transport_cost(x, y, epsilon, *EXACT).item()
        # BFGS stops at a gradient of 1e-9, where the maximum is flat
        assert found == pytest.approx(by_dual_ascent(squared_distances(x, y), epsilon), rel=1e-7)


def test_the_entropic_cost_is_the_primal_s_minimum() -> None:
    """E_π cost + ε KL(π‖uniform) over the couplings of three points: the mixtures of the six matchings (Birkhoff)."""
    z, w = two_samples(3, 3)
    cost, epsilon = squared_distances(z, w), 1.0
    matchings = np.stack([np.eye(3)[list(order)] for order in itertools.permutations(range(3))]) / 3

    def primal(logits: np.ndarray) -> float:
        plan = np.tensordot(softmax(logits), matchings, 1)
        return float((plan * cost).sum() + epsilon * (plan * np.log(9 * plan)).sum())

    least = minimize(primal, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).fun
    assert _transport_cost(z, w, epsilon, *EXACT).item() == pytest.approx(least, rel=1e-7)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (4, 6)])
def test_as_epsilon_goes_to_zero_it_is_the_linear_programme_s(n: int, m: int) -> None:
    """Each OT_ε is between OT_0 and OT_0 + ε·log n, for KL(π‖uniform) is at most the logarithm of the larger sample."""
    z, w = two_samples(n, m)
    cost = squared_distances(z, w)
    margins = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    exact = linprog(cost.ravel(), A_eq=margins, b_eq=masses).fun
    if n == m:
        assert exact == pytest.approx(cost[linear_sum_assignment(cost)].mean())
    for epsilon in (0.5, 0.1):
        found = sinkhorn_divergence(z, w, epsilon, 1e-2, 5000).item()
        assert abs(found - exact) < epsilon * math.log(max(n, m))


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 10.0])
def test_two_gaussians(epsilon: float) -> None:
    """In one dimension, by 400 quantiles of each: the error of that quadrature is below 0.01 here.

    For variances a and b and ε = 2σ², OT_ε = (m_a − m_b)² + a + b − d + σ²(1 − log 2σ²) + σ² log(d + σ²), with
    d = √(4ab + σ⁴): Janati et al., "Entropic Optimal Transport between Unbalanced Gaussian Measures has a Closed Form",
    2020, theorem 1.
    """

    def entropic(mean: float, a: float, b: float) -> float:
        square = epsilon / 2
        d = math.sqrt(4 * a * b + square**2)
        return mean**2 + a + b - d + square * (1 - math.log(2 * square)) + square * math.log(d + square)

    mean, variance = 1.5, 0.3
    exact = entropic(mean, variance, 1.0) - 0.5 * entropic(0, variance, variance) - 0.5 * entropic(0, 1.0, 1.0)
    quantiles = torch.from_numpy(norm.ppf((np.arange(400) + 0.5) / 400))[:, None]
    found = sinkhorn_divergence(mean + math.sqrt(variance) * quantiles, quantiles, epsilon, 1e-6, 10_000)
    assert found.item() == pytest.approx(exact, abs=0.01)
    assert exact - mean**2 > 0.02


def test_as_epsilon_grows_it_is_the_distance_of_the_means() -> None:
    z, w = two_samples(7, 9)
    expected = (z.mean(0) - w.mean(0)).square().sum().item()
    assert sinkhorn_divergence(z, w, 1e6, *EXACT).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_zero_only_if_the_samples_coincide(epsilon: float) -> None:
    z, w = two_samples(12, 12)
    assert sinkhorn_divergence(z, z[torch.randperm(12)], epsilon, *EXACT).item() == pytest.approx(0.0, abs=1e-9)
    for other in (w, w - w.mean(0) + z.mean(0), 0.9 * (z - z.mean(0)) + z.mean(0)):  # the last two have z's mean
        assert sinkhorn_divergence(z, other, epsilon, *EXACT) > 1e-4


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_the_gradient_is_that_of_finite_differences(epsilon: float) -> None:
    """Of z and of w: the envelope theorem at a tolerance of 1e-10, differences of 1e-5 of a value good to 1e-13."""
    z, w = (points.requires_grad_() for points in two_samples(5, 4))

    def value(a: Tensor, b: Tensor) -> Tensor:
        return sinkhorn_divergence(a, b, epsilon, *EXACT)

    assert torch.autograd.gradcheck(value, (z, w), eps=1e-5, atol=1e-6)


def test_the_gradient_at_the_tolerance_by_default_is_off_by_a_thousandth() -> None:
    z, w = two_samples(40, 40, 8)
    gradients = []
    for tolerance in (1e-3, 1e-10):
        points = z.clone().requires_grad_()
        sinkhorn_divergence(points, w, 4.0, tolerance, 10_000).backward()
        gradients.append(points.grad)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-3 * gradients[1].abs().max()


def test_part_draws_from_the_prior_and_scores_its_samples() -> None:
    part = Sinkhorn(latent_dim=3, scale=0.5)
    q, p = DiagonalGaussian(torch.ones(50, 3), torch.zeros(50, 3)), StandardNormal(3, torch.zeros(()))
    z = q.rsample()
    torch.manual_seed(5)
    value = part(q, p, z)
    torch.manual_seed(5)
    assert torch.equal(value, sinkhorn_divergence(z, torch.randn(50, 3), 3.0, 1e-3, 100))
    assert part.aggregate
    assert not part.rewardable
    assert part.estimator == "debiased, squared distance, ε = 3"


def test_the_bias_is_the_stated_one() -> None:
    """0.45 at D = 16, B = 128 and scale: 1 for q(z) = p, and it is less for a narrower q(z); to a tenth."""
    part, p = Sinkhorn(latent_dim=16), StandardNormal(16, torch.zeros(()))
    same = torch.stack([part(p, p, p.sample((128,))) for _ in range(60)])
    narrow = torch.stack([part(p, p, 0.85 * p.sample((128,))) for _ in range(60)])
    assert same.mean().item() == pytest.approx(0.45, abs=0.045)
    assert narrow.mean() < same.mean()


def test_a_learned_prior_gets_a_gradient() -> None:
    mean = torch.full((3,), 2.0, requires_grad=True)
    p = Independent(Normal(mean, torch.ones(3), validate_args=False), 1, validate_args=False)
    Sinkhorn(latent_dim=3)(p, p, torch.randn(50, 3)).backward()
    assert mean.grad is not None
    assert (mean.grad > 0).all()  # towards the sample, which lies about the origin


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_latents_far_away_are_finite(dtype: torch.dtype, distance: float) -> None:
    """The shift is exact, and takes no iterations."""
    z = (torch.randn(64, 4, dtype=torch.float64) + distance).to(dtype).requires_grad_()
    value = Sinkhorn(latent_dim=4)(None, StandardNormal(4, z.detach()), z)  # type: ignore[arg-type]
    value.backward()
    assert value.dtype == dtype
    assert value.item() == pytest.approx(4 * distance**2, rel=1e-3)
    assert z.grad is not None
    # of ‖E z − E w‖², 2 (E z − E w)/B in each coordinate, beside which all else is small
    torch.testing.assert_close(z.grad, torch.full_like(z, 2 * distance / 64), rtol=1e-2, atol=0)


def test_float32_keeps_its_digits_wherever_the_origin_is() -> None:
    z, w = (points.float() + 1000 for points in two_samples(50, 50, 8))
    exact = sinkhorn_divergence(z.double() - 1000, w.double() - 1000, 16.0, 1e-3, 100)
    assert sinkhorn_divergence(z, w, 16.0, 1e-3, 100).item() == pytest.approx(exact.item(), rel=1e-6)


def test_one_example_is_the_squared_distance() -> None:
    z, w = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    assert sinkhorn_divergence(z, w, 1.0, 1e-3, 100).item() == pytest.approx(25.0)


def test_without_grad_the_value_is_the_same() -> None:
    z, w = two_samples(10, 10)
    with torch.no_grad():
        value = sinkhorn_divergence(z.requires_grad_(), w, 2.0, 1e-3, 100)
    assert not value.requires_grad
    assert value == sinkhorn_divergence(z, w, 2.0, 1e-3, 100)


def test_too_few_iterations_are_reported() -> None:
    z, w = two_samples(30, 30)
    message = (
        "sinkhorn: 3 iterations do not reach the tolerance of 0.001 at ε = 0.5; "
        "write more iterations, or a larger scale"
    )
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(message)}$"):
        value = sinkhorn_divergence(z, w, 0.5, 1e-3, 3)
    # each cost is bounded from below all the same, and the error is of the second order
    assert value.item() == pytest.approx(sinkhorn_divergence(z, w, 0.5, *EXACT).item(), rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale: expected a positive number, found 0"),
        ({"scale": math.inf}, "scale: expected a positive number, found inf"),
        ({"tolerance": 1.0}, "tolerance: expected between 0 and 1, found 1"),
        ({"tolerance": 0.0}, "tolerance: expected between 0 and 1, found 0"),
        ({"iterations": 0}, "iterations: expected 1 or more, found 0"),
    ],
)
def test_options_that_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        Sinkhorn(latent_dim=2, **options)  # type: ignore[arg-type]
