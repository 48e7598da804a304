"""log p(x) by importance sampling against closed forms and enumeration."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, MixtureSameFamily, Normal

from framework.discrete import OneHotLogits
from framework.distributions import BernoulliLogits, DiagonalGaussian, StandardNormal
from framework.importance import (
    Importance,
    importance_sampling,
    log_likelihood_of_bits,
    log_likelihoods,
    sample_batches,
)
from tests.framework.linear_gaussian import LinearGaussianDecoder, linear_gaussian, linear_posterior

COUNT = 20


def oracle(samples: int, *, axis_aligned: bool = False) -> tuple[Importance, Tensor, Tensor]:
    """Importance sampling in the linear-Gaussian model, and the true log p(x) and ELBO of the examples."""
    model = linear_gaussian(seed=0, axis_aligned=axis_aligned)
    posterior = model.best_diagonal_posterior()
    x, decoder = model.sample(COUNT, seed=1), LinearGaussianDecoder(model)
    q, p = posterior.distribution(x), StandardNormal(model.latents, torch.zeros((), dtype=torch.float64))
    torch.manual_seed(0)
    with torch.no_grad():
        found = importance_sampling(
            q, p, lambda z: log_likelihoods(decoder(z), x), sample_batches(q, samples, at_once=300)
        )
    return found, model.log_prob(x), posterior.elbo_of(x)


def test_it_finds_log_p_of_a_linear_gaussian_model() -> None:
    found, truth, elbo = oracle(5_000)
    assert float((truth - elbo).mean()) > 0.09  # the posterior is not the model's: there is something to correct
    error = (found.log_likelihood - truth).abs()
    assert float(error.max()) < 0.05
    assert bool((error < 4 * found.variance.sqrt()).all())  # 20 examples: 3 would fail once in 19 seeds
    mean_error = float((found.log_likelihood - truth).mean().abs())
    assert mean_error < 3 * math.sqrt(float(found.variance.sum())) / COUNT


def test_the_elbo_and_the_reconstruction_are_those_of_the_model() -> None:
    model = linear_gaussian(seed=0)
    posterior = model.best_diagonal_posterior()
    x = model.sample(COUNT, seed=1)
    found, _, elbo = oracle(5_000)
    # Each is a mean of 20 · 5,000 draws of a spread of about 2 nats: a standard error of 0.006.
    assert float(found.elbo.mean()) == pytest.approx(float(elbo.mean()), abs=0.02)
    assert float(found.reconstruction.mean()) == pytest.approx(float(posterior.reconstruction_of(x).mean()), abs=0.02)


def test_with_the_models_own_posterior_one_sample_is_enough() -> None:
    found, truth, _ = oracle(1, axis_aligned=True)
    assert torch.allclose(found.log_likelihood, truth, atol=1e-9)
    assert bool(found.variance.isnan().all())  # of one sample nothing is known of the spread
    many, _, _ = oracle(10, axis_aligned=True)
    assert float(many.variance.max()) < 1e-12
    assert torch.allclose(many.effective_samples, torch.full((COUNT,), 10.0, dtype=torch.float64))


def test_the_variance_is_that_of_other_draws() -> None:
    model = linear_gaussian(seed=0)
    posterior = linear_posterior(model, seed=1, strength=0.1)
    x, decoder = model.sample(1, seed=1), LinearGaussianDecoder(model)
    q = DiagonalGaussian(model.posterior(x).mean, 0.5 * posterior.variance.log().expand(1, -1))
    p = StandardNormal(model.latents, torch.zeros((), dtype=torch.float64))
    torch.manual_seed(0)
    with torch.no_grad():
        found = [
            importance_sampling(q, p, lambda z: log_likelihoods(decoder(z), x), sample_batches(q, 400, at_once=400))
            for _ in range(400)
        ]
    spread = torch.cat([one.log_likelihood for one in found]).var()
    claimed = torch.cat([one.variance for one in found]).mean()
    # The variance of 400 numbers is known to about √(2/400) = 7 %, and the delta method is of first order.
    assert float(claimed) == pytest.approx(float(spread), rel=0.3)


def test_weights_are_of_the_drawn_density_and_not_of_the_analytic_kl() -> None:
    # exp(log p(x|z) − KL) would be off where the posterior is wide.
    found, truth, _ = oracle(5_000)
    model = linear_gaussian(seed=0)
    posterior = model.best_diagonal_posterior()
    x, decoder = model.sample(COUNT, seed=1), LinearGaussianDecoder(model)
    torch.manual_seed(0)
    q = posterior.distribution(x)
    with torch.no_grad():
        fit = log_likelihoods(decoder(q.sample((5_000,)).flatten(0, 1)), x)
    wrong = (fit - posterior.kl_of(x)).logsumexp(0) - math.log(5_000)
    assert float((wrong - truth).mean().abs()) > 0.2
    assert float((found.log_likelihood - truth).mean().abs()) < 0.02


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_how_many_samples_come_at_once_changes_nothing(at_once: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, dtype=torch.float64)
    q = DiagonalGaussian(x, torch.zeros(3, 2, dtype=torch.float64))
    p = StandardNormal(2, torch.zeros((), dtype=torch.float64))
    z = 30 * q.sample((100,))  # weights of very different sizes

    def fit(flat: Tensor) -> Tensor:
        return -flat.square().sum(-1).view(-1, 3)

    log_weights = fit(z.flatten(0, 1)) + p.log_prob(z) - q.log_prob(z)
    found = importance_sampling(q, p, fit, iter(z.split(at_once)))
    assert torch.allclose(found.log_likelihood, log_weights.logsumexp(0) - math.log(100), rtol=1e-12)
    weights = (log_weights - log_weights.amax(0)).exp()
    variance = weights.var(0) / (100 * weights.mean(0).square())
    assert torch.allclose(found.variance, variance, rtol=1e-9)
    assert torch.allclose(found.effective_samples, weights.sum(0).square() / weights.square().sum(0), rtol=1e-9)
    assert torch.allclose(found.elbo, log_weights.mean(0))


def test_weights_that_vanish_at_first_are_no_harm() -> None:
    q = DiagonalGaussian(torch.zeros(1, 1), torch.zeros(1, 1))
    z = torch.zeros(4, 1, 1)
    fits = iter([torch.full((2, 1), -math.inf), torch.tensor([[0.0], [0.0]])])
    found = importance_sampling(q, StandardNormal(1, torch.zeros(())), lambda _: next(fits), iter(z.split(2)))
    assert float(found.log_likelihood) == pytest.approx(math.log(0.5))


def test_no_samples_are_refused() -> None:
    none: Iterator[Tensor] = iter(())
    q = DiagonalGaussian(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="importance sampling expects at least one sample, found none"):
        importance_sampling(q, StandardNormal(1, torch.zeros(())), lambda z: z, none)


def bits(count: int) -> Tensor:
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * count)


def test_discrete_latents_agree_with_enumeration() -> None:
    """Bits and one-hot variables under a prior of the same kind: log p(x) is a sum over all of their values."""
    torch.manual_seed(0)
    x, weight = torch.randn(4, 5), torch.randn(3, 5)

    def fit(z: Tensor) -> Tensor:
        return log_likelihoods(DiagonalGaussian(z @ weight, torch.zeros(5)), x)

    q: Distribution = BernoulliLogits(torch.randn(4, 3))
    p: Distribution = BernoulliLogits(torch.randn(3))
    one_hot_q, one_hot_p = OneHotLogits(torch.randn(4, 1, 3)), OneHotLogits(torch.randn(1, 3))
    for posterior, prior, values in ((q, p, bits(3)), (one_hot_q, one_hot_p, torch.eye(3))):
        every = values.repeat_interleave(4, 0)  # each value for each example
        truth = (fit(every) + prior.log_prob(values).unsqueeze(1)).logsumexp(0)
        found = importance_sampling(posterior, prior, fit, sample_batches(posterior, 20_000, at_once=5_000))
        error = (found.log_likelihood - truth).abs()
        assert bool((error < 4 * found.variance.sqrt()).all())
        assert float(error.max()) < 0.1


def test_a_mixture_prior_agrees_with_quadrature() -> None:
    weights = Categorical(torch.tensor([0.3, 0.7]), validate_args=False)
    p = MixtureSameFamily(
        weights, DiagonalGaussian(torch.tensor([[-1.0], [2.0]]), torch.zeros(2, 1)), validate_args=False
    )
    x, q = torch.tensor([[0.4], [1.5]]), DiagonalGaussian(torch.tensor([[0.2], [1.4]]), torch.zeros(2, 1))

    def fit(z: Tensor) -> Tensor:
        return log_likelihoods(DiagonalGaussian(z, torch.full((1,), -0.5)), x)

    grid = torch.linspace(-12, 12, 4_001, dtype=torch.float64).unsqueeze(1)
    density = fit(grid.repeat_interleave(2, 0)) + p.log_prob(grid).unsqueeze(1)
    truth = density.logsumexp(0) + math.log(24 / 4_000)
    torch.manual_seed(0)
    found = importance_sampling(q, p, fit, sample_batches(q, 20_000, at_once=5_000))
    assert bool(((found.log_likelihood - truth).abs() < 4 * found.variance.sqrt()).all())
    assert float((found.log_likelihood - truth).abs().max()) < 0.02


@pytest.mark.parametrize("pixels", [1, 2, 3, 63, 64, 65, 784, 1_025])
def test_the_likelihood_of_bits_is_torchs(pixels: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(3, pixels).round()
    for scale in (0.0, 1.0, 30.0, 1e4):  # all alike; as in a model; saturated; beyond what a product could hold
        logits = scale * torch.randn(2, 3, pixels)
        before = logits.clone()
        expected = Bernoulli(logits=logits.double(), validate_args=False).log_prob(x.double()).sum(-1)
        assert torch.allclose(log_likelihood_of_bits(logits.double(), x.double()), expected, rtol=1e-12)
        # float32: relatively 1e-5, and absolutely what rounding leaves of σ(|t|) near 1
        assert torch.allclose(log_likelihood_of_bits(logits, x).double(), expected, rtol=1e-5, atol=1e-4)
        assert torch.equal(logits, before)


def test_grey_pixels_are_left_to_the_likelihood_itself() -> None:
    torch.manual_seed(0)
    likelihood, x = BernoulliLogits(torch.randn(4, 5)), torch.rand(2, 5)
    found = log_likelihoods(likelihood, x)
    assert torch.allclose(found, likelihood.log_prob(x.repeat(2, 1)).view(2, 2))


@pytest.mark.parametrize("shape", [(784,), (1, 4, 4)])
def test_likelihoods_of_several_samples_are_those_of_each(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, x = 3 * torch.randn(6, *shape), torch.rand(2, *shape).round()
    dimensions = len(shape)
    expected = Independent(
        Bernoulli(logits=logits.view(3, 2, *shape).double(), validate_args=False), dimensions, validate_args=False
    ).log_prob(x.double())
    lean = log_likelihoods(BernoulliLogits(logits, dimensions), x)
    general = log_likelihoods(
        Independent(Bernoulli(logits=logits, validate_args=False), dimensions, validate_args=False), x
    )
    # float32: sums of up to 784 terms
    assert torch.allclose(lean.double(), expected, rtol=1e-5)
    assert torch.allclose(general.double(), expected, rtol=1e-5)
    normal = Independent(Normal(logits, 1.0, validate_args=False), dimensions, validate_args=False)
    assert torch.allclose(log_likelihoods(normal, x)[2, 1], normal.log_prob(x[1])[5])
