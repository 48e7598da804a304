"""The closed forms against sampling and numerical integration: means of n draws, within four standard errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from framework import Term
from framework.data import Facts
from framework.distributions import DiagonalGaussian
from framework.learners.latent import Latent
from framework.randomness import Keys
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import gaussian_mmd_squared
from framework_plugins.optimizers.adam import adam
from tests.framework.linear_gaussian import (
    Gaussian,
    LinearGaussianDecoder,
    LinearGaussianEncoder,
    LinearGaussianPrior,
    linear_gaussian,
    linear_posterior,
    standard_gaussian,
)

DRAWS = 20_000


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def agrees(draws: Tensor, exact: Tensor) -> None:
    draws = draws.detach()
    error = 4 * float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean() - exact)) < error, (float(draws.mean()), float(exact), error)


def torch_normal(gaussian: Gaussian) -> MultivariateNormal:
    return MultivariateNormal(gaussian.mean, gaussian.covariance)


def marginals(gaussian: Gaussian) -> DiagonalGaussian:
    return DiagonalGaussian(gaussian.mean, 0.5 * gaussian.covariance.diagonal().log())


def test_log_prob_is_the_integral_of_the_joint_over_a_single_latent() -> None:
    """∫ p(x|z) p(z) dz on a grid of 4001 points in [−10, 10]: the trapezoid rule is exact to 1e-12 here."""
    model = linear_gaussian(0, pixels=3, latents=1)
    x = model.sample(5, seed=1)
    z = torch.linspace(-10, 10, 4001, dtype=torch.float64)  # [Z]
    likelihood = LinearGaussianDecoder(model)(z[:, None])
    joint = likelihood.log_prob(x[:, None]) + LinearGaussianPrior(1)().log_prob(z[:, None])  # [5, Z]
    torch.testing.assert_close(model.log_prob(x), torch.trapezoid(joint.exp(), z).log(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("axis_aligned", [False, True])
def test_the_posterior_is_bayes_rule(axis_aligned: bool) -> None:
    """log p(z|x) = log p(x|z) + log p(z) − log p(x) at any z."""
    model = linear_gaussian(0, axis_aligned=axis_aligned)
    x, z = model.sample(7, seed=1), torch.randn(7, model.latents, dtype=torch.float64)
    joint = LinearGaussianDecoder(model)(z).log_prob(x) + LinearGaussianPrior(model.latents)().log_prob(z)
    torch.testing.assert_close(model.posterior(x).log_prob(z), joint - model.log_prob(x))


def test_columns_that_are_orthogonal_make_the_posterior_diagonal() -> None:
    model = linear_gaussian(0, axis_aligned=True)
    x = model.sample(4, seed=1)
    covariance = model.posterior_covariance
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), rtol=0, atol=1e-12)
    best = model.best_diagonal_posterior()
    torch.testing.assert_close(best.distribution(x).mean, model.posterior(x).mean)
    torch.testing.assert_close(best.variance, covariance.diagonal())
    torch.testing.assert_close(best.elbo_of(x), model.log_prob(x))
    # q(z) is the prior when q(z|x) is the posterior and x are the model's data.
    torch.testing.assert_close(best.aggregate_kl(), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-10)


def test_no_other_diagonal_posterior_has_a_greater_elbo() -> None:
    model = linear_gaussian(0)
    best = model.best_diagonal_posterior()
    encoder = LinearGaussianEncoder(best)
    x = model.sample(4, seed=1)
    parameters = [parameter.detach().clone().requires_grad_() for parameter in encoder.parameters()]
    weight, offset, log_scale = parameters
    q = DiagonalGaussian(x @ weight.T + offset, log_scale.expand(4, -1))
    exact = model.posterior(x)
    gap = kl_divergence(MultivariateNormal(q.mean, q.variance.diag_embed()), exact)  # torch's closed form
    torch.testing.assert_close(model.log_prob(x) - gap.detach(), best.elbo_of(x))
    for gradient in torch.autograd.grad(gap.sum(), parameters):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)
    assert (best.elbo_of(x) > linear_posterior(model, seed=0).elbo_of(x)).all()


def test_the_samples_have_the_moments_of_the_two_step_draw() -> None:
    model = linear_gaussian(0)
    z = LinearGaussianPrior(model.latents)().sample((DRAWS,))
    two_steps, one_step = LinearGaussianDecoder(model)(z).sample(), model.sample(DRAWS, seed=1)
    for j in range(model.pixels):
        agrees(two_steps[:, j], model.data.mean[j])
        agrees(one_step[:, j], model.data.mean[j])
        for k in range(j + 1):
            product = model.data.covariance[j, k] + model.data.mean[j] * model.data.mean[k]
            agrees(two_steps[:, j] * two_steps[:, k], product)
            agrees(one_step[:, j] * one_step[:, k], product)


@pytest.mark.parametrize("seed", range(3))
def test_information_agrees_with_sampling(seed: int) -> None:
    model = linear_gaussian(seed)
    posterior = linear_posterior(model, seed)
    x = model.sample(DRAWS, seed=1)
    q = posterior.distribution(x)
    z = q.sample()  # [N, D]
    aggregate = torch_normal(posterior.aggregate)
    independent = marginals(posterior.aggregate)
    prior = LinearGaussianPrior(model.latents)()
    agrees(q.log_prob(z) - aggregate.log_prob(z), posterior.mutual_information())
    agrees(aggregate.log_prob(z) - prior.log_prob(z), posterior.aggregate_kl())
    agrees(aggregate.log_prob(z) - independent.log_prob(z), posterior.total_correlation())
    agrees(independent.log_prob(z) - prior.log_prob(z), posterior.marginal_kl().sum())
    agrees(q.log_prob(z) - prior.log_prob(z), posterior.kl())
    agrees(-LinearGaussianDecoder(model)(z).log_prob(x) - posterior.reconstruction_of(x), torch.zeros(()))
    agrees(posterior.elbo_of(x), posterior.elbo())
    torch.testing.assert_close(posterior.kl_of(x), kl_divergence(q, prior))
    torch.testing.assert_close(posterior.kl(), posterior.mutual_information() + posterior.aggregate_kl())
    parts = posterior.total_correlation() + posterior.marginal_kl().sum()
    torch.testing.assert_close(posterior.aggregate_kl(), parts)


def test_gaussians_agree_with_torch() -> None:
    posterior = linear_posterior(linear_gaussian(0), seed=0)
    gaussian, standard = posterior.aggregate, standard_gaussian(3)
    z = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(gaussian.log_prob(z), torch_normal(gaussian).log_prob(z))
    torch.testing.assert_close(gaussian.kl_to_standard(), kl_divergence(torch_normal(gaussian), torch_normal(standard)))


@pytest.mark.parametrize("width", [0.5, 6.0])
def test_mmd_agrees_with_sampling_and_with_the_diagonal_closed_form(width: float) -> None:
    posterior = linear_posterior(linear_gaussian(0), seed=0)
    q, p = torch_normal(posterior.aggregate), torch_normal(standard_gaussian(3))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a - b).square().sum(-1) / width).exp()

    z, other_z, w, other_w = (distribution.sample((DRAWS,)) for distribution in (q, q, p, p))
    agrees(
        kernel(z, other_z) + kernel(w, other_w) - kernel(z, w) - kernel(other_z, other_w), posterior.mmd_squared(width)
    )
    mean, variance = torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
    exact = Gaussian(mean, variance.diag()).mmd_squared_to(standard_gaussian(2), width)
    torch.testing.assert_close(exact, gaussian_mmd_squared(mean[None], variance[None], "rbf", [width], "v"))


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_a_latent_learner_is_put_together_from_the_parts(shape: tuple[int, ...]) -> None:
    """Its ELBO of 20 000 examples, with one draw of z each, is the closed form's."""
    model = linear_gaussian(0)
    posterior = linear_posterior(model, seed=0)
    learner = Latent(
        facts=Facts(input_shape=shape, dataset_size=DRAWS, values="real"),
        latent_dim=model.latents,
        encoder=LinearGaussianEncoder(posterior),
        decoder=LinearGaussianDecoder(model, shape),
        prior=LinearGaussianPrior(model.latents),
        divergences={"kl": Term(KL())},
        optimizer=adam,
    )
    x = model.sample(DRAWS, seed=1)
    metrics = learner.evaluate(x.unflatten(1, shape), Keys(0, "test", 0))
    errors = 4 * float(posterior.elbo_of(x).std()) / math.sqrt(DRAWS)
    assert float(metrics["elbo"]) == pytest.approx(float(posterior.elbo()), abs=2 * errors)
    assert float(metrics["kl"]) == pytest.approx(float(posterior.kl_of(x).mean()), rel=1e-12)
