"""The score-function estimators against enumeration: their gradients, their means and their variances.

Means are within four standard errors of the exact gradient, variances within 5 % of the exact ones, at a fixed seed:
the variance of 200,000 estimates is itself known to about 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from framework import OptionError
from framework.estimators import leave_one_out, score_function

ESTIMATES = 1_000_000


@dataclass(frozen=True)
class Toy:
    """Independent bits that share one logit, and a cost of them."""

    probability: float
    targets: tuple[float, ...]

    def cost(self, bits: Tensor) -> Tensor:  # [..., bits] -> [...]
        return (bits - bits.new_tensor(self.targets)).square().sum(-1)

    def log_prob(self, logit: Tensor, bits: Tensor) -> Tensor:
        return (bits * logit[..., None] - torch.nn.functional.softplus(logit)[..., None]).sum(-1)

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """Every string of bits and its probability."""
        bits = torch.tensor(list(product((0.0, 1.0), repeat=len(self.targets))), dtype=torch.float64)
        ones = bits.sum(-1)
        return bits, self.probability**ones * (1 - self.probability) ** (len(self.targets) - ones)

    def gradients(self, bits: Tensor, surrogate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """One estimate, the mean over K samples, for each column of bits [K, N, bits]."""
        logit = torch.full(bits.shape[1:2], math.log(self.probability / (1 - self.probability)), dtype=torch.float64)
        logit.requires_grad_()
        surrogate(self.log_prob(logit, bits), self.cost(bits)).mean(0).sum().backward()
        assert logit.grad is not None
        return logit.grad  # [N]

    def enumerated(self, samples: int, surrogate: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
        """The estimator's exact mean and variance, over every way to draw the samples."""
        bits, probability = self.outcomes()
        choices = torch.tensor(list(product(range(len(bits)), repeat=samples))).T  # [K, N]
        weights = probability[choices].prod(0)
        gradients = self.gradients(bits[choices], surrogate)
        mean = (weights * gradients).sum()
        return mean.item(), (weights * (gradients - mean).square()).sum().item()

    def drawn(self, samples: int, surrogate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        generator = torch.Generator().manual_seed(samples)
        uniform = torch.rand(samples, ESTIMATES, len(self.targets), generator=generator, dtype=torch.float64)
        return self.gradients((uniform < self.probability).double(), surrogate)


def plain(log_prob: Tensor, cost: Tensor) -> Tensor:
    return score_function(log_prob, cost)


def against_the_others(log_prob: Tensor, cost: Tensor) -> Tensor:
    return score_function(log_prob, cost, leave_one_out(cost))


def against_a_number(log_prob: Tensor, cost: Tensor) -> Tensor:
    return score_function(log_prob, cost, 0.4)


ONE, THREE = Toy(0.9, (0.45,)), Toy(0.5, (0.6, 0.51, 0.48))
# The gradients by enumeration, the variances measured with a numpy program of its own.
CASES = [
    (ONE, 1, plain, 9.0e-3, 4.06e-3),
    (ONE, 2, plain, 9.0e-3, 2.03e-3),
    (ONE, 2, against_the_others, 9.0e-3, 3.69e-4),
    (THREE, 1, plain, -0.045, 0.438),
    (THREE, 2, against_the_others, -0.045, 0.00727),
    (THREE, 3, against_the_others, -0.045, 0.00321),
    (THREE, 4, against_the_others, -0.045, 0.00199),
    (THREE, 8, against_the_others, -0.045, 0.000757),
]
each_case = pytest.mark.parametrize(("toy", "samples", "surrogate", "gradient", "variance"), CASES)


@each_case
def test_the_estimates_have_the_known_mean_and_variance(
    toy: Toy, samples: int, surrogate: Callable[[Tensor, Tensor], Tensor], gradient: float, variance: float
) -> None:
    estimates = toy.drawn(samples, surrogate)
    error = (estimates.mean() - gradient).abs().item()
    assert error < 4 * estimates.std().item() / math.sqrt(ESTIMATES)
    assert estimates.var().item() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(("toy", "samples", "surrogate", "gradient", "variance"), [c for c in CASES if c[1] <= 4])
def test_enumeration_gives_the_same_mean_and_variance(
    toy: Toy, samples: int, surrogate: Callable[[Tensor, Tensor], Tensor], gradient: float, variance: float
) -> None:
    mean, spread = toy.enumerated(samples, surrogate)
    assert mean == pytest.approx(gradient, abs=1e-12)  # unbiased, exactly
    assert spread == pytest.approx(variance, rel=0.005)  # the known ones have three digits


def test_the_exact_gradient_is_the_derivative_of_the_expected_cost() -> None:
    for toy, gradient in ((ONE, 9.0e-3), (THREE, -0.045)):
        bits, _ = toy.outcomes()
        logit = torch.tensor(math.log(toy.probability / (1 - toy.probability)), dtype=torch.float64, requires_grad=True)
        (toy.log_prob(logit, bits).exp() * toy.cost(bits)).sum().backward()
        assert logit.grad is not None
        assert logit.grad.item() == pytest.approx(gradient, abs=1e-12)


def test_a_constant_baseline_changes_the_variance_and_not_the_mean() -> None:
    mean, variance = THREE.enumerated(1, plain)
    other, smaller = THREE.enumerated(1, against_a_number)
    assert other == pytest.approx(mean, abs=1e-12)
    assert smaller < variance


def test_the_mean_of_all_samples_as_a_baseline_would_shrink_the_gradient() -> None:
    def against_all(log_prob: Tensor, cost: Tensor) -> Tensor:
        return score_function(log_prob, cost, cost.mean(0))

    mean, _ = ONE.enumerated(2, against_all)
    assert mean == pytest.approx(0.5 * 9.0e-3, abs=1e-12)


def test_the_surrogate_and_its_gradient_are_what_the_formula_says() -> None:
    log_prob = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)  # [K, B]
    cost = torch.tensor([[5.0, 6.0], [7.0, 8.0]])
    surrogate = score_function(log_prob, cost, baseline=torch.tensor([1.0, 2.0]), weight=torch.tensor([[2.0], [0.5]]))
    coefficients = torch.tensor([[2 * (5.0 - 1), 2 * (6.0 - 2)], [0.5 * (7.0 - 1), 0.5 * (8.0 - 2)]])
    torch.testing.assert_close(surrogate, coefficients * log_prob, rtol=0, atol=0)
    surrogate.sum().backward()
    torch.testing.assert_close(log_prob.grad, coefficients, rtol=0, atol=0)


def test_no_gradient_goes_to_cost_baseline_or_weight() -> None:
    log_prob, cost, baseline, weight = torch.ones(4, 3, 2).requires_grad_()
    loss = score_function(log_prob, cost, baseline, weight).sum()
    gradients = torch.autograd.grad(loss, [log_prob, cost, baseline, weight], allow_unused=True)
    assert [gradient is not None for gradient in gradients] == [True, False, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_surrogate_has_the_type_and_shape_of_log_prob(dtype: torch.dtype) -> None:
    surrogate = score_function(torch.zeros(3, 2, dtype=dtype), torch.ones((), dtype=dtype))
    assert surrogate.dtype == dtype
    assert surrogate.shape == (3, 2)


@pytest.mark.parametrize("name", ["cost", "baseline", "weight"])
@pytest.mark.parametrize("shape", [(3, 1), (2,), (1, 3)])
def test_a_factor_that_would_enlarge_log_prob_is_refused(name: str, shape: tuple[int, ...]) -> None:
    arguments = {"cost": torch.zeros(3), name: torch.zeros(shape)}
    with pytest.raises(OptionError) as caught:
        score_function(torch.zeros(3), **arguments)
    assert str(caught.value) == (
        f"{name}: expected a shape that broadcasts to log_prob's [3], found {list(shape)}; "
        f"write one {name} for each log_prob"
    )


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    cost = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = torch.stack([torch.cat([cost[:k], cost[k + 1 :]]).mean(0) for k in range(5)])
    torch.testing.assert_close(leave_one_out(cost), others, rtol=1e-14, atol=1e-14)  # a few roundings


def test_leave_one_out_does_not_depend_on_a_samples_own_cost() -> None:
    jacobian = torch.autograd.functional.jacobian(leave_one_out, torch.randn(4, dtype=torch.float64))
    assert jacobian.diagonal().tolist() == [0.0] * 4
    assert (jacobian - torch.diag(jacobian.diagonal())).sum(1).tolist() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("shape", [(), (0, 2), (1, 2)])
def test_leave_one_out_of_one_sample_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        leave_one_out(torch.zeros(shape))
    assert str(caught.value) == (
        f"cost: expected [K, B] with two samples or more to leave one out of, found {list(shape)}; "
        "write a larger K, or another baseline"
    )
