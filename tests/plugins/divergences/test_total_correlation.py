"""The total correlation against enumeration of batches, double loops, and the linear-Gaussian model's closed form."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import laplace, norm
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, MultivariateNormal, Normal

from framework import Objective, OptionError, Term
from framework.distributions import BernoulliLogits, DiagonalGaussian, StandardNormal
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.total_correlation import (
    TotalCorrelation,
    log_prob_by_dimension,
    stratified_weights,
)
from tests.framework.linear_gaussian import linear_gaussian, linear_posterior

ESTIMATES = pytest.mark.parametrize("estimate", ["stratified", "weighted"])
N = 50  # examples in most of these tests


def posteriors(count: int, dimensions: int = 2, dtype: torch.dtype = torch.float64) -> tuple[DiagonalGaussian, Tensor]:
    numbers = torch.randn(3, count, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, log_scale = numbers[0].to(dtype).requires_grad_(), (0.3 * numbers[1]).to(dtype).requires_grad_()
    return DiagonalGaussian(mean, log_scale), mean + log_scale.exp() * numbers[2].to(dtype)


def measure(q: Distribution, z: Tensor, estimate: str, dataset_size: int = N) -> Tensor:
    part = TotalCorrelation(latent_dim=z.shape[1], dataset_size=dataset_size, estimate=estimate)
    return part(q, StandardNormal(z.shape[1], z.detach()), z)


def weights_by_hand(estimate: str, count: int, dataset_size: int) -> np.ndarray:
    """The weights of equation S6: own, one other, remaining."""
    if estimate == "weighted":
        return np.full((count, count), 1 / (dataset_size * count))
    weights = np.full((count, count), 1 / (count - 1))
    for i in range(count):
        weights[i, i] = 1 / dataset_size
        weights[i, (i + 1) % count] = (dataset_size - count + 1) / (dataset_size * (count - 1))
    return weights


@ESTIMATES
@pytest.mark.parametrize("count", [2, 3, 7])
def test_it_is_the_double_sum(estimate: str, count: int) -> None:
    """Probabilities multiplied and added one by one in numpy: the joint's weights are of whole examples."""
    q, z = posteriors(count)
    mean, scale, point = (tensor.detach().numpy() for tensor in (q.mean, q.stddev, z))
    weights = weights_by_hand(estimate, count, N)
    expected = 0.0
    for i in range(count):
        density = [[norm.pdf(point[i, j], mean[k, j], scale[k, j]) for j in range(2)] for k in range(count)]
        joint = sum(weights[i, k] * math.prod(density[k]) for k in range(count))
        marginals = [sum(weights[i, k] * density[k][j] for k in range(count)) for j in range(2)]
        expected += math.log(joint / math.prod(marginals)) / count
    assert measure(q, z, estimate).item() == pytest.approx(expected, rel=1e-12)


def test_stratified_densities_are_unbiased_over_batches() -> None:
    """Every batch of 3 of 6 examples that holds the example z came from, enumerated: the mean is the full mixture."""
    dataset_size, count = 6, 3
    density = torch.rand(dataset_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # q(z|x_n)
    for own, row in itertools.product(range(dataset_size), range(count)):
        weights = stratified_weights(count, dataset_size, density)[row]
        others = [n for n in range(dataset_size) if n != own]
        batches = [[*rest[:row], own, *rest[row:]] for rest in itertools.permutations(others, count - 1)]
        found = torch.stack([(weights * density[batch]).sum() for batch in batches]).mean()
        torch.testing.assert_close(found, density.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("count", "dataset_size"), [(2, 2), (2, 9), (3, 3), (5, 9), (128, 60_000)])
def test_known_mistake_stratified_weights_are_not_in_the_first_two_columns(count: int, dataset_size: int) -> None:
    """A known mistake: 1/N in column 0 and the next weight in column 1, whichever example z came from."""
    weights = stratified_weights(count, dataset_size, torch.zeros((), dtype=torch.float64))
    one = torch.ones(count, dtype=torch.float64)
    torch.testing.assert_close(weights.sum(1), one, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights.sum(0), one, rtol=1e-12, atol=0)  # no example counts for more than another
    torch.testing.assert_close(weights.diagonal(), one / dataset_size, rtol=1e-12, atol=0)
    np.testing.assert_allclose(weights.numpy(), weights_by_hand("stratified", count, dataset_size), rtol=1e-12)


def test_known_mistake_weights_are_not_added_before_the_sum_over_dimensions() -> None:
    """A known mistake: D times the log-weight in the joint. One dimension alone has no total correlation, two have."""
    q, z = posteriors(5, dimensions=1)
    assert measure(q, z, "stratified").item() == pytest.approx(0.0, abs=1e-12)
    q, z = posteriors(5, dimensions=2)
    pairs = log_prob_by_dimension(q, z.unsqueeze(1)) + stratified_weights(5, N, z.detach()).log().unsqueeze(-1)
    wrong = (pairs.sum(-1).logsumexp(1) - pairs.logsumexp(1).sum(-1)).mean()
    assert abs(measure(q, z, "stratified").item() - wrong.item()) > 0.1


def test_the_constant_of_weighted_is_stated_and_has_no_gradient() -> None:
    q, z = posteriors(6, dimensions=4)
    value = measure(q, z, "weighted")
    pairs = log_prob_by_dimension(q, z.unsqueeze(1))
    batch = (pairs.sum(-1).logsumexp(1) - pairs.logsumexp(1).sum(-1)).mean() + 3 * math.log(6)  # weights 1/B
    assert (value - batch).item() == pytest.approx(3 * math.log(N), rel=1e-12)
    for ours, theirs in zip(*(torch.autograd.grad(v, q.mean, retain_graph=True) for v in (value, batch)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    part = TotalCorrelation(latent_dim=4, dataset_size=60_000, estimate="weighted")
    assert part.estimator == (
        "minibatch-weighted sampling, 60,000 examples: (D − 1)·log N = 33.01 nats more than from the batch's mixture"
    )
    part = TotalCorrelation(latent_dim=4, dataset_size=60_000)
    assert part.estimator == "minibatch-stratified sampling, 60,000 examples"


@ESTIMATES
def test_the_linear_gaussian_model(estimate: str) -> None:
    """40 batches of 512: within three standard errors and the bias of 512 examples, here below 0.01 nats.

    The posterior holds I(x;z) = 1.7 nats, beside which log 512 = 6.2 is much.
    """
    model = linear_gaussian(0, latents=4)
    posterior = linear_posterior(model, seed=1, strength=0.2)
    assert posterior.mutual_information() < 2
    exact, examples = posterior.total_correlation().item(), 1_000_000
    assert exact > 0.2
    constant = 3 * math.log(examples) if estimate == "weighted" else 0.0
    torch.manual_seed(0)
    values = []
    for x in model.sample(40 * 512, seed=1).chunk(40):
        q = posterior.distribution(x)
        values.append(measure(q, q.sample(), estimate, examples) - constant)
    found = torch.stack(values)
    assert abs(found.mean().item() - exact) < 3 * found.std().item() / math.sqrt(40) + 0.01


def test_a_whole_data_set_is_close_to_its_own_mixture() -> None:
    """B = N = 300 of `stratified` against the full mixture, at the same z: two weights of 300 differ in a row."""
    q, z = posteriors(300)
    pairs = log_prob_by_dimension(q, z.unsqueeze(1))
    mixture = (pairs.sum(-1).logsumexp(1) - pairs.logsumexp(1).sum(-1)).mean() + math.log(300)
    assert measure(q, z, "stratified", 300).item() == pytest.approx(mixture.item(), abs=0.01)


@ESTIMATES
def test_gradcheck(estimate: str) -> None:
    q, z = posteriors(4)
    z = z.detach().requires_grad_()

    def value(mean: Tensor, log_scale: Tensor, point: Tensor) -> Tensor:
        return measure(DiagonalGaussian(mean, log_scale), point, estimate)

    assert torch.autograd.gradcheck(value, (q.mean, q.log_scale, z))


@pytest.mark.parametrize(
    "q",
    [
        DiagonalGaussian(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([0.1, -0.2])),
        Independent(Normal(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([1.0, 0.5])), 1),
        Independent(Laplace(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([1.0, 0.5])), 1),
        BernoulliLogits(torch.tensor([[0.0, 1.0], [2.0, -1.0]])),
    ],
    ids=["diagonal", "normal", "laplace", "bernoulli"],
)
def test_densities_by_dimension_add_up(q: Distribution) -> None:
    z = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]).unsqueeze(1)  # [3, 1, 2]
    found = log_prob_by_dimension(q, z)
    assert found.shape == (3, 2, 2)
    torch.testing.assert_close(found.sum(-1), q.log_prob(z))


def test_a_density_by_dimension_is_that_dimension_s() -> None:
    loc, scale = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([1.0, 0.5])
    q = Independent(Laplace(torch.tensor(loc), torch.tensor(scale)), 1)
    z = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    expected = laplace.logpdf(z.numpy(), loc, scale)
    np.testing.assert_allclose(log_prob_by_dimension(q, z).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        (MultivariateNormal(torch.zeros(3, 2), torch.eye(2)), "'MultivariateNormal'"),
        (
            Independent(MultivariateNormal(torch.zeros(3, 1, 2), torch.eye(2)), 1),
            "'Independent' of MultivariateNormal",
        ),
    ],
)
def test_dimensions_that_depend_on_each_other_are_refused(q: Distribution, found: str) -> None:
    message = (
        "total_correlation: expected a posterior whose dimensions are independent given x, with a density for each: "
        f"DiagonalGaussian, BernoulliLogits or Independent(…, 1) of univariate ones; found {found}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(q, torch.zeros(3, 2), "stratified")


@ESTIMATES
def test_one_example_is_refused(estimate: str) -> None:
    q, z = posteriors(1)
    message = (
        "total_correlation: the aggregate posterior is estimated from other examples, and a batch of 2 or more "
        "is expected, found 1; write a larger data.batch_size"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure(q, z, estimate)


def test_a_batch_of_more_examples_than_the_training_set_is_a_set_of_its_own_size() -> None:
    """Of a validation set that is larger, say; in training there is no such batch."""
    q, z = posteriors(8)
    assert torch.equal(measure(q, z, "stratified", dataset_size=7), measure(q, z, "stratified", dataset_size=8))
    with pytest.raises(ValueError, match=r"^stratified_weights: expected 2 to 7 examples, found 8$"):
        stratified_weights(8, 7, torch.zeros(()))


def test_no_examples_are_refused() -> None:
    message = "dataset_size: expected 1 or more, the number of training examples, found 0"
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        TotalCorrelation(latent_dim=2, dataset_size=0)


@ESTIMATES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_latents_far_away_are_finite(estimate: str, dtype: torch.dtype, distance: float) -> None:
    """Where no two posteriors overlap only the own summand is left: the gradients are zero and not NaN."""
    mean = distance * torch.arange(4.0, dtype=dtype)[:, None].expand(4, 3).clone().requires_grad_()
    mean.retain_grad()
    q = DiagonalGaussian(mean, torch.zeros(4, 3, dtype=dtype))
    value = measure(q, mean + 0.1, estimate)
    value.backward()
    assert value.dtype == dtype
    own = 1 / N if estimate == "stratified" else 1 / (4 * N)
    assert value.item() == pytest.approx(-2 * math.log(own), rel=1e-4)  # log w − D·log w
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


def test_float32_agrees_with_float64() -> None:
    double, single = posteriors(40, 8), posteriors(40, 8, torch.float32)
    for estimate in ("stratified", "weighted"):
        # log densities of size 10, to 1e-6 each
        assert measure(*single, estimate).item() == pytest.approx(measure(*double, estimate).item(), abs=1e-4)


def test_beside_the_kl_it_is_the_beta_tcvae() -> None:
    """β times the total correlation in all: the KL holds it once, but that is not broken up in what `fw show` says."""
    part = TotalCorrelation(latent_dim=2, dataset_size=N)
    implied = Objective({"kl": Term(KL()), "tc": Term(part, 5.0)}).implied_coefficients()
    assert implied == {"I(x;z)": 1.0, "KL(q(z)‖p)": 1.0, "TC(q(z))": 5.0}
    assert part.aggregate
    assert not part.rewardable
