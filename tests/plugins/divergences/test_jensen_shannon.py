"""The Jensen–Shannon divergence against numerical integration in one dimension, its value and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal

from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.jensen_shannon import JensenShannon
from framework_plugins.priors.gaussian_mixture import GaussianMixture
from tests.framework.linear_gaussian import linear_gaussian, linear_posterior

MEANS, SCALES = (-1.5, 0.4, 2.0), (0.5, 0.9, 0.3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def parameters(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The mean and log σ of three posteriors in one dimension, [3, 1] each."""
    mean, scale = torch.tensor(MEANS, dtype=dtype)[:, None], torch.tensor(SCALES, dtype=dtype)[:, None]
    return mean.requires_grad_(), scale.log().requires_grad_()


def repeated(mean: Tensor, log_scale: Tensor, times: int) -> DiagonalGaussian:
    """The same mixture, with each component as often: many draws for one value."""
    return DiagonalGaussian(mean.repeat(times, 1), log_scale.repeat(times, 1))


def by_quadrature(mean: Tensor, log_scale: Tensor) -> Tensor:
    """JSD of the mixture and N(0, 1) by the trapezoid rule on 8001 points of [−12, 12], differentiable."""
    grid = torch.linspace(-12, 12, 8001, dtype=torch.float64)
    q = Normal(mean[:, 0], log_scale[:, 0].exp()).log_prob(grid[:, None]).exp().mean(1)
    p = Normal(torch.zeros(()).double(), 1.0).log_prob(grid).exp()
    m = (q + p) / 2
    return torch.trapezoid(torch.xlogy(q, q / m) + torch.xlogy(p, p / m), grid) / 2


def test_the_quadrature_is_scipy_s() -> None:
    def integrand(x: float) -> float:
        q = sum(norm.pdf(x, m, s) for m, s in zip(MEANS, SCALES, strict=True)) / 3
        p = norm.pdf(x)
        return 0.5 * (q * math.log(2 * q / (q + p)) + p * math.log(2 * p / (q + p)))

    exact = quad(integrand, -8, 8, limit=200, epsabs=1e-12)[0]
    assert by_quadrature(*parameters()).item() == pytest.approx(exact, abs=1e-9)
    assert 0.05 < exact < math.log(2)


def test_value_and_gradient_are_unbiased_for_the_batch_s_mixture() -> None:
    """400 values of a batch of three: within three standard errors of the integral, and so is each derivative."""
    mean, log_scale = parameters()
    exact = by_quadrature(mean, log_scale)
    exact_gradient = torch.cat(torch.autograd.grad(exact, (mean, log_scale)))[:, 0]  # [6]
    part, p = JensenShannon(), StandardNormal(1, mean.detach())
    values, gradients = [], []
    for _ in range(400):
        q = DiagonalGaussian(mean, log_scale)
        value = part(q, p, q.rsample())
        values.append(value.detach())
        gradients.append(torch.cat(torch.autograd.grad(value, (mean, log_scale)))[:, 0])
    found, slopes = torch.stack(values), torch.stack(gradients)
    assert abs(found.mean() - exact) < 3 * found.std() / 20
    assert ((slopes.mean(0) - exact_gradient).abs() < 3 * slopes.std(0) / 20).all()
    assert (found <= math.log(2)).all()


def test_the_gradient_includes_the_path_of_the_prior_s_draws() -> None:
    """10 000 draws of each component, once with q's density at w as a constant: then the derivatives are others."""
    mean, log_scale = parameters()
    exact = torch.cat(torch.autograd.grad(by_quadrature(mean, log_scale), (mean, log_scale)))[:, 0]
    grid = torch.linspace(-12, 12, 8001, dtype=torch.float64)
    q = Normal(mean[:, 0], log_scale[:, 0].exp()).log_prob(grid[:, None]).exp().mean(1)
    p = Normal(torch.zeros(()).double(), 1.0).log_prob(grid).exp()
    of_w = torch.trapezoid(torch.xlogy(p, 2 * p / (q + p)), grid) / 2
    missing = torch.cat(torch.autograd.grad(of_w, (mean, log_scale)))[:, 0]
    assert (missing.abs() > 0.02).any()  # so much would be left out
    part, standard, gradients = JensenShannon(), StandardNormal(1, mean.detach()), []
    for _ in range(40):
        mixture = repeated(mean, log_scale, 100)
        value = part(mixture, standard, mixture.rsample())
        gradients.append(torch.cat(torch.autograd.grad(value, (mean, log_scale)))[:, 0])
    slopes = torch.stack(gradients)
    errors = 3 * slopes.std(0) / math.sqrt(40)
    assert ((slopes.mean(0) - exact).abs() < errors).all()
    assert ((slopes.mean(0) - (exact - missing)).abs() > errors).any()


def test_the_linear_gaussian_model_is_approached_from_above() -> None:
    """q(z) of all examples is a Gaussian; a batch's is further from the prior, and less so the larger it is."""
    model = linear_gaussian(0, pixels=4, latents=2)
    posterior = linear_posterior(model, seed=0)
    aggregate = torch.distributions.MultivariateNormal(posterior.aggregate.mean, posterior.aggregate.covariance)
    p = StandardNormal(2, posterior.offset)
    z, w = aggregate.sample((100_000,)), p.sample((100_000,))
    at_z, at_w = (p.log_prob(points) - aggregate.log_prob(points) for points in (z, w))
    softplus = torch.nn.functional.softplus
    exact = math.log(2) - (softplus(at_z).mean() + softplus(-at_w).mean()).item() / 2  # to 0.002
    part, means = JensenShannon(), []
    for batch, repeats in ((4, 400), (32, 100), (512, 20)):
        chunks = model.sample(batch * repeats, seed=1).chunk(repeats)
        values = torch.stack([part(q, p, q.sample()) for q in map(posterior.distribution, chunks)])
        means.append((values.mean().item(), values.std().item() / math.sqrt(repeats)))
    (few, error), (more, _), (many, error_of_many) = means
    assert few - 3 * error > more > many
    assert exact - 3 * error_of_many - 0.002 < many < exact + 3 * error_of_many + 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_distributions_have_none(dtype: torch.dtype) -> None:
    mean = torch.zeros(16, 3, dtype=dtype)
    q, p = DiagonalGaussian(mean, mean), StandardNormal(3, mean)
    value = JensenShannon()(q, p, q.sample())
    assert value.dtype == dtype
    assert value.item() == pytest.approx(0.0, abs=1e-6)  # r is a rounding of log densities of size 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [1e2, 1e6])
def test_latents_far_away_are_at_log_two_and_finite(dtype: torch.dtype, distance: float) -> None:
    mean = torch.full((8, 3), distance, dtype=dtype).requires_grad_()
    q, p = DiagonalGaussian(mean, torch.full((8, 3), -3.0, dtype=dtype)), StandardNormal(3, mean.detach())
    value = JensenShannon()(q, p, q.rsample())
    value.backward()
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


def test_one_example_is_a_mixture_of_one() -> None:
    mean, log_scale = torch.tensor([[0.7]]).double(), torch.tensor([[-0.5]]).double()
    p = StandardNormal(1, mean)
    values = torch.stack([JensenShannon()(q, p, q.sample()) for q in [DiagonalGaussian(mean, log_scale)] * 4000])
    exact = by_quadrature(mean, log_scale).item()
    assert abs(values.mean().item() - exact) < 3 * values.std().item() / math.sqrt(4000)


def test_float32_agrees_with_float64() -> None:
    values = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(1)
        q = DiagonalGaussian(torch.linspace(-1, 1, 120, dtype=dtype).view(40, 3), torch.zeros(40, 3, dtype=dtype))
        w = torch.linspace(-2, 2, 120, dtype=dtype).view(40, 3)
        values.append(JensenShannon()(q, Fixed(w), q.mean + 0.1).item())
    assert values[0] == pytest.approx(values[1], abs=1e-6)


class Fixed(StandardNormal):
    """N(0, I) whose draws are given."""

    def __init__(self, draws: Tensor) -> None:
        super().__init__(draws.shape[1], draws)
        self.draws = draws

    def rsample(self, sample_shape: object = ()) -> Tensor:
        return self.draws


def test_other_posteriors_and_a_learned_prior() -> None:
    """Laplace posteriors; the prior's mean gets a gradient towards them."""
    mean = torch.full((3,), 1.0, requires_grad=True)
    p: Distribution = Independent(Normal(mean, torch.ones(3), validate_args=False), 1, validate_args=False)
    q = Independent(Laplace(torch.zeros(64, 3), torch.ones(64, 3)), 1)
    JensenShannon()(q, p, q.rsample()).backward()
    assert mean.grad is not None
    assert (mean.grad > 0).all()


def test_a_prior_that_cannot_be_reparametrised_is_left_alone() -> None:
    """Its draws carry no gradient, and that through its density alone is noise around 0, by which it would drift."""
    prior = GaussianMixture(latent_dim=1, components=2)
    q = DiagonalGaussian(torch.full((8, 1), 1.5, requires_grad=True), torch.zeros(8, 1))
    JensenShannon()(q, prior(), q.rsample()).backward()
    assert q.mean.grad is not None
    assert q.mean.grad.abs().sum() > 0
    assert [parameter.grad for parameter in prior.parameters()] == [None, None, None]


def test_it_says_what_it_is() -> None:
    part = JensenShannon()
    assert part.estimator == "Monte Carlo, q(z) the mixture of the batch's posteriors"
    assert part.aggregate
    assert part.needs_density
    assert not part.rewardable
