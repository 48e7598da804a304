"""The distributions of 256 levels against sums over all levels, torch's, and a logistic's own distribution function."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import logistic
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from framework.pixel_distributions import LEVELS, CategoricalPixels, DiscretizedLogistic, level_of

GRID = torch.arange(LEVELS, dtype=torch.float64) / 255  # every level


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def categorical(*batch: int, event: tuple[int, ...] = (2, 3)) -> CategoricalPixels:
    logits = 2 * torch.randn(*batch, LEVELS, *event, generator=generator(), dtype=torch.float64)
    return CategoricalPixels(logits, len(event))


def rounded(*batch: int, event: tuple[int, ...] = (2, 3)) -> DiscretizedLogistic:
    mean = 1.6 * torch.rand(*batch, *event, generator=generator(), dtype=torch.float64) - 0.3  # also outside [0, 1]
    log_scale = torch.linspace(-7.5, 1, mean.numel(), dtype=torch.float64).view_as(mean)
    return DiscretizedLogistic(mean, log_scale, len(event))


def probabilities(p: Distribution, shape: tuple[int, ...]) -> Tensor:
    """P(k) of every level of each value, [L, *shape], for a distribution of values that are events by themselves."""
    return p.log_prob(GRID.view(LEVELS, *(1 for _ in shape), 1).expand(LEVELS, *shape, 1)).exp()


@pytest.mark.parametrize("make", [categorical, rounded])
def test_the_levels_sum_to_one(make: type) -> None:
    total = probabilities(make(5, 7, event=(1,)), (5, 7)).sum(0)
    torch.testing.assert_close(total, torch.ones(5, 7, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("mean", [-3.0, -0.01, 0.0, 0.5, 0.503, 1.0, 1.7])
@pytest.mark.parametrize("scale", [1e-4, 1e-3, 0.05, 0.5, 20.0])
def test_the_levels_sum_to_one_at_the_edges_and_in_float32(mean: float, scale: float) -> None:
    p = DiscretizedLogistic(torch.tensor([[mean]]), torch.tensor([[math.log(scale)]]), 1)
    log_probability = p.log_prob(GRID.float().view(LEVELS, 1, 1))
    assert log_probability.isfinite().all()
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=2e-5)  # 256 roundings of float32


@pytest.mark.parametrize("mean", [-0.3, 0.1, 0.5, 0.97, 1.2])
@pytest.mark.parametrize("scale", [0.002, 0.03, 0.6])
def test_a_level_has_what_the_logistic_puts_around_it(mean: float, scale: float) -> None:
    p = DiscretizedLogistic(*torch.tensor([mean, math.log(scale)], dtype=torch.float64).view(2, 1, 1), 1)
    edges = (GRID[:-1] + 0.5 / 255).numpy()
    below = [0.0, *logistic.cdf(edges, mean, scale), 1.0]
    expected = torch.tensor(below, dtype=torch.float64).diff()
    torch.testing.assert_close(probabilities(p, (1,))[:, 0], expected, rtol=1e-9, atol=1e-13)  # scipy's difference


def test_the_tails_do_not_underflow() -> None:
    """The difference of two distribution functions is zero in float32 beyond 17 scales."""
    p = DiscretizedLogistic(torch.zeros(1, 1), torch.full((1, 1), math.log(1e-3)), 1)
    x = torch.tensor([[200 / 255]])
    # log σ(a) ≈ 0, log σ(−b) = −b, and the width's factor 1 − exp(−2h/s)
    expected = -(200 / 255 - 0.5 / 255) / 1e-3 + math.log1p(-math.exp(-1 / 0.255))
    assert p.log_prob(x).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_scale", [-30.0, -5.0, 0.0, 30.0])
def test_gradients_are_finite(log_scale: float) -> None:
    leaves = [torch.full((1, 3), 0.2, requires_grad=True), torch.full((1, 3), log_scale, requires_grad=True)]
    DiscretizedLogistic(*leaves, 1).log_prob(torch.tensor([[0.0, 0.2, 1.0]])).sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_the_gradient_is_the_differences() -> None:
    mean = torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor([[-4.0, -1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.0, 128 / 255, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, s: DiscretizedLogistic(m, s, 1).log_prob(x), (mean, log_scale))


def test_categorical_is_torchs() -> None:
    p = categorical(5)
    level = torch.randint(LEVELS, (5, 2, 3), generator=generator())
    expected = Categorical(logits=p.logits.movedim(1, -1)).log_prob(level).sum((1, 2))
    torch.testing.assert_close(p.log_prob(level.double() / 255), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.mode, p.logits.argmax(1).double() / 255)


@pytest.mark.parametrize("make", [categorical, rounded])
def test_the_mean_is_the_sum_over_levels(make: type) -> None:
    p = make(5, event=(1,))
    expected = (probabilities(p, (5,)) * GRID[:, None]).sum(0)
    torch.testing.assert_close(p.mean.squeeze(1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [categorical, rounded])
def test_samples_have_the_frequencies_of_the_levels(make: type) -> None:
    p, count = make(4, event=(1,)), 20_000
    torch.manual_seed(0)
    x = p.sample((count,))
    assert x.shape == (count, 4, 1)
    level = level_of(x)
    assert torch.equal(level.double() / 255, x)
    expected = probabilities(p, (4,))  # [L, 4]
    for value in range(4):
        found = torch.bincount(level[:, value, 0], minlength=LEVELS) / count
        error = (expected[:, value] * (1 - expected[:, value]) / count).sqrt()
        assert ((found - expected[:, value]).abs() < 5 * error + 2 / count).all()  # of a thousand frequencies


@pytest.mark.parametrize("make", [categorical, rounded])
def test_several_samples_an_example(make: type) -> None:
    p = make(3, 5)
    x = torch.rand(5, 2, 3, generator=generator(), dtype=torch.float64)
    found = p.log_prob(x)
    assert found.shape == (3, 5)
    assert (p.batch_shape, p.event_shape) == ((3, 5), (2, 3))
    torch.testing.assert_close(found, p.log_prob(x.expand(3, 5, 2, 3)))


@pytest.mark.parametrize("make", [categorical, rounded])
def test_what_lies_between_two_levels_is_the_nearer_one(make: type) -> None:
    p = make(2)
    x = level_of(torch.rand(2, 2, 3, generator=generator())).double() / 255
    assert torch.equal(p.log_prob(x + 0.4 / 255), p.log_prob(x))
    assert torch.equal(p.log_prob(x.float()), p.log_prob(x))


@pytest.mark.parametrize("make", [categorical, rounded])
def test_it_is_for_data_between_zero_and_one(make: type) -> None:
    support = make(2).support
    assert isinstance(support, constraints.independent)
    assert support.base_constraint is constraints.unit_interval
    assert support.event_dim == 2


def test_equally_likely_levels_are_eight_bits() -> None:
    p = CategoricalPixels(torch.zeros(1, LEVELS, 2, 3), 2)
    bits = -p.log_prob(torch.rand(1, 2, 3, generator=generator())) / (6 * math.log(2))
    assert bits.item() == pytest.approx(8)
