"""The uniform distribution against torch's, and the divergence that it has from nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, register_kl
from torch.distributions import Uniform as TorchsUniform

from framework.distributions import DiagonalGaussian, InfiniteDivergence, StandardNormal, kl_divergence, kl_is_infinite
from framework.uniform_box import UniformBox


def box(bound: float = 2.0) -> UniformBox:
    return UniformBox(3, bound, torch.zeros((), dtype=torch.float64))


def test_its_density_is_torchs() -> None:
    z = 3 * torch.rand(50, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1.5
    one = torch.ones((), dtype=torch.float64)
    expected = TorchsUniform(-one, one, validate_args=False).log_prob(z).sum(-1)
    assert expected.isinf().any()
    assert expected.isfinite().any()
    torch.testing.assert_close(box(1.0).log_prob(z), expected)
    torch.testing.assert_close(box().entropy().item(), 3 * math.log(4))


def test_samples_have_its_moments_and_bounds() -> None:
    p, count = box(), 50_000
    torch.manual_seed(0)
    z = p.sample((count,))
    assert z.shape == (count, 3)
    assert z.dtype == torch.float64
    assert (z.abs() <= 2).all()
    assert z.abs().max() > 1.999
    torch.testing.assert_close(p.variance, torch.full((3,), TorchsUniform(-2.0, 2.0).variance, dtype=torch.float64))
    assert ((z.mean(0) - p.mean).abs() < 4 * (p.variance / count).sqrt()).all()
    squares = z.square()
    assert ((squares.mean(0) - p.variance).abs() < 4 * squares.std(0) / math.sqrt(count)).all()


def test_the_density_has_a_gradient_of_zero() -> None:
    z = torch.tensor([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(box().log_prob(z)[0], z)
    assert not gradient.any()


def posteriors() -> list[Distribution]:
    mean = torch.zeros(2, 3, dtype=torch.float64)
    return [DiagonalGaussian(mean, mean - 9), Independent(Normal(mean, mean + 1), 1)]


@pytest.mark.parametrize("q", posteriors(), ids=lambda q: type(q).__name__)
def test_a_divergence_that_is_infinite_is_refused(q: Distribution) -> None:
    """Even where it would hardly show: at σ = e⁻⁹ no sample is ever outside."""
    message = r"^KL is infinite: q has mass outside the prior's \[−2, 2\]; take mmd, or prior standard_normal$"
    with pytest.raises(ValueError, match=message):
        kl_divergence(q, box(), q.sample())


@pytest.mark.parametrize("q", posteriors(), ids=lambda q: type(q).__name__)
def test_it_is_known_to_be_infinite(q: Distribution) -> None:
    assert kl_is_infinite(q, box())
    with pytest.raises(InfiniteDivergence):
        kl_divergence(q, box(), q.sample())


def test_no_other_refusal_is_taken_for_infinity() -> None:
    class Refused(UniformBox):
        pass

    @register_kl(Refused, Refused)
    def _refuse(q: Refused, p: Refused) -> Tensor:
        raise ValueError("boxes of two sizes")

    refused = Refused(3, 2.0, torch.zeros(()))
    with pytest.raises(ValueError, match=r"^boxes of two sizes$"):
        kl_is_infinite(refused, refused)
    assert not kl_is_infinite(
        DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3)), StandardNormal(3, torch.zeros(()))
    )


def test_a_divergence_that_is_finite_is_estimated() -> None:
    """Of U(−1, 1)³: three times log 2, whatever the sample."""
    one = torch.ones(5, 3, dtype=torch.float64)
    q = Independent(TorchsUniform(-one, one), 1)
    torch.testing.assert_close(kl_divergence(q, box(), q.sample()), torch.full_like(one[:, 0], 3 * math.log(2)))
