"""DIP-VAE's two regularisers against numpy's covariance, the linear-Gaussian model, and values by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, MixtureSameFamily, MultivariateNormal, Normal

from framework import OptionError
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian, StandardNormal
from framework_plugins.divergences.covariance import Covariance, mean_covariance
from tests.framework.linear_gaussian import linear_gaussian, linear_posterior

KINDS = pytest.mark.parametrize("kind", ["i", "ii"])


def posteriors(count: int, dtype: torch.dtype = torch.float64) -> DiagonalGaussian:
    numbers = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    return DiagonalGaussian(numbers[0] + 0.5 * numbers[0].roll(1, 1) + 7, 0.3 * numbers[1])


def measure(part: Covariance, q: Distribution) -> Tensor:
    return part(q, StandardNormal(3, q.mean), q.mean)


@KINDS
@pytest.mark.parametrize("count", [2, 9])
def test_it_is_numpy_s_covariance(kind: str, count: int) -> None:
    q = posteriors(count)
    matrix = np.cov(q.mean.numpy(), rowvar=False)
    if kind == "ii":
        matrix = matrix + np.diag(q.variance.numpy().mean(0))
    expected = 0.0
    for i in range(3):
        for j in range(3):
            expected += 5.0 * (matrix[i, j] - 1) ** 2 if i == j else 2.0 * matrix[i, j] ** 2
    part = Covariance(kind=kind, off_diagonal=2.0, diagonal=5.0)
    assert measure(part, q).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("kind", "diagonal"), [("i", 20.0), ("ii", 2.0)])
def test_the_coefficients_by_default_are_the_paper_s(kind: str, diagonal: float) -> None:
    """λ_d = 10 λ_od for DIP-VAE-I and λ_d = λ_od for DIP-VAE-II."""
    q = posteriors(9)
    by_default = measure(Covariance(kind=kind, off_diagonal=2.0), q)
    assert by_default == measure(Covariance(kind=kind, off_diagonal=2.0, diagonal=diagonal), q)


def test_zero_is_attained_where_the_covariance_is_the_identity() -> None:
    mean = 100 + math.sqrt(0.75) * torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).double()
    assert measure(Covariance(kind="i"), Delta(mean)).item() == pytest.approx(0.0, abs=1e-20)
    half = 100 + math.sqrt(0.5) * (mean - 100)
    q = DiagonalGaussian(half, torch.full_like(half, 0.5 * math.log(0.5)))
    assert measure(Covariance(kind="ii"), q).item() == pytest.approx(0.0, abs=1e-20)
    assert measure(Covariance(kind="i"), q).item() == pytest.approx(10 * 2 * 0.25, rel=1e-9)


@KINDS
def test_the_linear_gaussian_model(kind: str) -> None:
    """40 batches of 512: within three standard errors of the closed form and of what squares of C_ij add.

    For Gaussian means Var C_ij = (V_ii V_jj + V_ij²)/(B − 1), V their covariance.
    """
    model, batch, batches = linear_gaussian(0), 512, 40
    posterior = linear_posterior(model, seed=1)
    whole = posterior.aggregate.covariance  # A C Aᵀ + diag v
    means = whole - posterior.variance.diag()
    exact = means if kind == "i" else whole
    spread = (means.diagonal()[:, None] * means.diagonal() + means.square()) / (batch - 1)
    weights = torch.full((3, 3), 2.0, dtype=torch.float64).fill_diagonal_(5.0)
    expected = (weights * ((exact - torch.eye(3)).square() + spread)).sum().item()
    part = Covariance(kind=kind, off_diagonal=2.0, diagonal=5.0)
    found = torch.stack(
        [measure(part, posterior.distribution(x)) for x in model.sample(batches * batch, seed=2).chunk(batches)]
    )
    assert abs(found.mean().item() - expected) < 3 * found.std().item() / math.sqrt(batches)


@KINDS
def test_gradcheck(kind: str) -> None:
    q = posteriors(4)
    parameters = (q.mean.requires_grad_(), q.log_scale.requires_grad_())
    part = Covariance(kind=kind)
    assert torch.autograd.gradcheck(lambda mean, scale: measure(part, DiagonalGaussian(mean, scale)), parameters)


@pytest.mark.parametrize(
    "q",
    [
        DiagonalGaussian(torch.zeros(4, 3), 0.1 * torch.arange(12.0).view(4, 3)),
        BernoulliLogits(0.1 * torch.arange(12.0).view(4, 3)),
        Independent(Normal(torch.zeros(4, 3), 1 + torch.arange(12.0).view(4, 3)), 1),
        Independent(Laplace(torch.zeros(4, 3), torch.tensor(2.0)), 1),
    ],
    ids=["diagonal", "bernoulli", "normal", "laplace"],
)
def test_the_covariance_of_independent_dimensions_is_diagonal(q: Distribution) -> None:
    found = mean_covariance(q)
    torch.testing.assert_close(found, q.variance.mean(0).diag())
    assert found.shape == (3, 3)


def test_a_full_covariance_counts_off_the_diagonal() -> None:
    matrix = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    q = MultivariateNormal(torch.zeros(4, 3), matrix)
    torch.testing.assert_close(mean_covariance(q), matrix)
    assert measure(Covariance(kind="ii"), q).item() == pytest.approx(2 * 0.25)
    assert measure(Covariance(kind="i"), q).item() == pytest.approx(30.0)


def test_a_posterior_without_a_known_covariance_is_refused() -> None:
    components = Independent(Normal(torch.zeros(4, 2, 3), torch.ones(4, 2, 3)), 1)
    q = MixtureSameFamily(torch.distributions.Categorical(torch.ones(4, 2)), components)
    message = (
        "covariance: kind: ii expects a posterior whose covariance is known: DiagonalGaussian, BernoulliLogits, Delta, "
        "MultivariateNormal or Independent(…, 1) of univariate ones; found 'MixtureSameFamily'; write kind: i"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(Covariance(kind="ii"), q)
    assert measure(Covariance(kind="i"), q).item() == pytest.approx(30.0)  # three variances of 0


@KINDS
def test_one_example_is_refused(kind: str) -> None:
    message = (
        "covariance: a covariance over examples expects a batch of 2 or more, found 1; write a larger data.batch_size"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(Covariance(kind=kind), posteriors(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"off_diagonal": -1.0}, "off_diagonal: expected 0 or more: it rewards no correlation, found -1"),
        ({"diagonal": -0.5}, "diagonal: expected 0 or more: it rewards no correlation, found -0.5"),
        (
            {"off_diagonal": 0.0, "diagonal": 0.0},
            "off_diagonal: expected one of the two above 0, found 0, beside diagonal: 0",
        ),
    ],
)
def test_coefficients_that_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        Covariance(kind="i", **options)


@KINDS
def test_float32_keeps_its_digits_far_from_the_origin(kind: str) -> None:
    """The means are centred first: E[μμᵀ] − E[μ]E[μ]ᵀ would have lost all digits at 10⁴."""
    q = posteriors(64)
    far = DiagonalGaussian((q.mean + 1e4).float(), q.log_scale.float())
    part = Covariance(kind=kind)
    value = measure(part, far)
    assert value.dtype == torch.float32
    exact = measure(part, DiagonalGaussian(far.mean.double(), far.log_scale.double()))  # of the same, rounded, means
    assert value.item() == pytest.approx(exact.item(), rel=1e-3)  # the mean of 64 numbers of size 10⁴, to 10⁻³
    assert measure(part, DiagonalGaussian(1e6 * q.mean.float(), q.log_scale.float())).isfinite()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("i", "covariance of the posteriors' means; 1 off the diagonal, 10 on it"),
        ("ii", "covariance of the aggregate posterior; 1 off the diagonal, 1 on it"),
    ],
)
def test_it_says_what_it_is(kind: str, words: str) -> None:
    part = Covariance(kind=kind)
    assert part.estimator == words
    assert part.aggregate
    assert not part.rewardable
