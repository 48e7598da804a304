"""The mixture of equal weights against torch's, and what its products lose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from framework import equal_mixture
from framework.equal_mixture import EqualMixture


def parameters(components: int = 7, dimension: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean, log_scale = torch.randn(2, components, dimension, generator=generator, dtype=torch.float64)
    return mean, log_scale


def torchs(mean: Tensor, log_scale: Tensor) -> MixtureSameFamily:
    parts = Independent(Normal(mean, log_scale.exp()), 1)
    return MixtureSameFamily(Categorical(logits=mean.new_zeros(len(mean))), parts)


@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (2, 3, 4)], ids=str)
def test_its_density_is_torchs(shape: tuple[int, ...]) -> None:
    mean, log_scale = parameters()
    z = 2 * torch.randn(*shape, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    density = EqualMixture(mean, log_scale).log_prob(z)
    assert density.shape == shape
    torch.testing.assert_close(density, torchs(mean, log_scale).log_prob(z), rtol=1e-12, atol=1e-12)  # float64


def test_no_points_have_no_density() -> None:
    assert EqualMixture(*parameters()).log_prob(torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01, 0.001])
def test_nothing_cancels_in_float32(scale: float) -> None:
    """z²/σ² is as large as 1e6 here, and the log-density, of forty dimensions, of the order of 100."""
    mean = parameters(500, 40)[0].float()
    log_scale = torch.full_like(mean, math.log(scale))
    noise = torch.randn(20, 40, generator=torch.Generator().manual_seed(1))
    z = mean[:20] + scale * noise
    expected = torchs(mean.double(), log_scale.double()).log_prob(z.double())
    density = EqualMixture(mean, log_scale).log_prob(z)
    assert density.dtype == torch.float32
    torch.testing.assert_close(density.double(), expected, rtol=1e-6, atol=0)  # the last rounding, to float32


def test_its_gradients_are_torchs() -> None:
    leaves = [*parameters(), torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)]
    found, expected = (
        torch.autograd.grad(density(mean, log_scale).log_prob(z).square().sum(), [mean, log_scale, z])
        for density in (EqualMixture, torchs)
        for mean, log_scale, z in [[leaf.clone().requires_grad_() for leaf in leaves]]
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)  # float64


def test_known_mistake_the_density_integrates_to_one() -> None:
    """A known mistake: a missing parenthesis, by which it did not. On a grid of steps far below the scales, exact."""
    mean, log_scale = parameters(dimension=2)
    p = EqualMixture(mean, log_scale.clamp(-1, 0.5))
    steps = torch.arange(-12, 12, 0.05, dtype=torch.float64)
    z = torch.cartesian_prod(steps, steps)  # [N, 2]
    assert p.log_prob(z).exp().sum().item() * 0.05**2 == pytest.approx(1, abs=1e-9)


def test_points_in_blocks_have_the_same_density(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, log_scale = parameters()
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = EqualMixture(mean, log_scale).log_prob(z)
    monkeypatch.setattr(equal_mixture, "_AT_ONCE", 21)
    torch.testing.assert_close(EqualMixture(mean, log_scale).log_prob(z), whole, rtol=1e-12, atol=1e-12)


def test_samples_have_its_moments() -> None:
    mean, log_scale = parameters()
    p, reference = EqualMixture(mean, log_scale), torchs(mean, log_scale)
    torch.testing.assert_close(p.mean, reference.mean)
    torch.testing.assert_close(p.variance, reference.variance)
    torch.manual_seed(0)
    count = 50_000
    z = p.sample((count,))
    assert z.shape == (count, 3)
    assert p.sample().shape == (3,)
    assert ((z.mean(0) - p.mean).abs() < 4 * (p.variance / count).sqrt()).all()
    squares = (z - p.mean).square()
    assert ((squares.mean(0) - p.variance).abs() < 4 * squares.std(0) / math.sqrt(count)).all()


def test_a_samples_gradient_to_the_means_is_shared_by_the_components() -> None:
    """E z = 1/K Σ μ_k: each sample has gradient 1 to the mean of the component it is from."""
    mean, log_scale = parameters()
    mean.requires_grad_()
    torch.manual_seed(0)
    EqualMixture(mean, log_scale).rsample((7_000,)).sum().backward()
    assert mean.grad is not None
    assert mean.grad.sum().item() == 3 * 7_000
    assert ((mean.grad - 1_000).abs() < 4 * math.sqrt(7_000 / 7 * 6 / 7)).all()  # binomial: 4 standard deviations
