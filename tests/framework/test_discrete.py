"""One-hot latents against torch's own, and draws that have a gradient against what they are drawn from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, OneHotCategorical, kl_divergence
from torch.distributions import RelaxedBernoulli as TorchRelaxedBernoulli
from torch.distributions import RelaxedOneHotCategorical as TorchRelaxedOneHot

from framework import IncompatibleParts, OptionError
from framework.discrete import OneHotLogits, check_categories, code_of, is_discrete, relaxed, straight_through
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian, detached


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_one_hot_variables_are_torchs_own() -> None:
    ours = OneHotLogits(logits(5, 3, 4))
    theirs = Independent(OneHotCategorical(logits=logits(5, 3, 4)), 1)
    z = theirs.sample((2,))  # [2, 5, 3, 4]
    torch.testing.assert_close(ours.log_prob(z.flatten(-2)), theirs.log_prob(z))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.mean, theirs.mean.flatten(-2))
    torch.testing.assert_close(ours.variance, theirs.variance.flatten(-2))
    torch.testing.assert_close(ours.mode, theirs.mode.flatten(-2))
    assert (ours.batch_shape, ours.event_shape) == ((5,), (12,))


def test_the_divergence_of_one_hot_variables_is_torchs_own() -> None:
    q, p = logits(5, 3, 4), logits(3, 4) / 2
    found = kl_divergence(OneHotLogits(q), OneHotLogits(p))
    theirs = [Independent(OneHotCategorical(logits=each), 1) for each in (q, p.expand(5, 3, 4))]
    torch.testing.assert_close(found, kl_divergence(*theirs))
    assert float(kl_divergence(OneHotLogits(q), OneHotLogits(q)).abs().max()) < 1e-12


def test_draws_of_one_hot_variables_are_as_frequent_as_they_should_be() -> None:
    torch.manual_seed(1)
    q = OneHotLogits(logits(3, 4))
    draws = q.sample((40_000,))  # [40,000, 12]
    assert bool((draws.unflatten(-1, (3, 4)).sum(-1) == 1).all())
    error = (q.variance / len(draws)).sqrt()
    assert float(((draws.mean(0) - q.mean) / error).abs().max()) < 4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_relaxed_draws_largest_category_is_a_draw(temperature: float) -> None:
    torch.manual_seed(2)
    q = OneHotLogits(logits(1, 3, 4).expand(40_000, 3, 4))
    z = relaxed(q, temperature)
    torch.testing.assert_close(z.unflatten(-1, (3, 4)).sum(-1), torch.ones(40_000, 3, dtype=torch.float64))
    hard = torch.nn.functional.one_hot(z.unflatten(-1, (3, 4)).argmax(-1), 4).double().flatten(-2)
    error = (q.variance[0] / len(hard)).sqrt()
    assert float(((hard.mean(0) - q.mean[0]) / error).abs().max()) < 4
    theirs = TorchRelaxedOneHot(torch.tensor(temperature), logits=logits(3, 4)).sample((40_000,)).flatten(-2)
    error = ((z.var(0) + theirs.var(0)) / len(z)).sqrt()
    assert float(((z.mean(0) - theirs.mean(0)) / error).abs().max()) < 4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_relaxed_bit_rounds_to_a_draw(temperature: float) -> None:
    torch.manual_seed(3)
    q = BernoulliLogits(logits(1, 3).expand(40_000, 3))
    z = relaxed(q, temperature)
    error = (q.variance[0] / len(z)).sqrt()
    assert float(((z.round().mean(0) - q.mean[0]) / error).abs().max()) < 4
    theirs = TorchRelaxedBernoulli(torch.tensor(temperature), logits=logits(3)).sample((40_000,))
    error = ((z.var(0) + theirs.var(0)) / len(z)).sqrt()
    assert float(((z.mean(0) - theirs.mean(0)) / error).abs().max()) < 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relaxed_draws_of_a_certain_bit_are_finite(dtype: torch.dtype) -> None:
    extreme = torch.tensor([-80.0, 80.0], dtype=dtype).repeat(10_000, 1).requires_grad_()
    z = relaxed(BernoulliLogits(extreme), 0.1)
    z.sum().backward()
    assert bool(z.isfinite().all())
    assert extreme.grad is not None
    assert bool(extreme.grad.isfinite().all())


@pytest.mark.parametrize("q", [BernoulliLogits(logits(6, 4)), OneHotLogits(logits(6, 2, 2))], ids=["bits", "one_hot"])
def test_a_straight_through_draw_is_a_true_one_with_the_means_gradient(q: BernoulliLogits | OneHotLogits) -> None:
    leaf = q.logits.clone().requires_grad_()
    torch.manual_seed(4)
    z = straight_through(type(q)(leaf))
    assert set(z.detach().unique().tolist()) <= {0.0, 1.0}
    slope = torch.arange(4.0, dtype=torch.float64)  # of a cost that is linear in z: there it is the exact gradient
    (found,) = torch.autograd.grad((z * slope).sum(), leaf)
    (expected,) = torch.autograd.grad((type(q)(leaf).mean * slope).sum(), leaf)
    torch.testing.assert_close(found, expected)


def test_a_posterior_that_cannot_be_relaxed_is_refused() -> None:
    with pytest.raises(IncompatibleParts) as caught:
        relaxed(DiagonalGaussian(torch.zeros(2, 1), torch.zeros(2, 1)), 1.0)
    assert "DiagonalGaussian that has no reparametrised draw" in str(caught.value)
    assert "estimator: score_function" in str(caught.value)


@pytest.mark.parametrize(("categories", "found"), [(None, "none"), (1, "1 with latent_dim 6"), (4, "4 with")])
def test_categories_that_do_not_divide_the_latents_are_refused(categories: int | None, found: str) -> None:
    check_categories(3, 6)
    with pytest.raises(OptionError, match=f"categories: .*divisor of latent_dim, found {found}"):
        check_categories(categories, 6)


def test_a_detached_distribution_is_the_same_without_a_graph() -> None:
    leaf = logits(5, 3).requires_grad_()
    torso = DiagonalGaussian(leaf * 2, leaf)
    twin = detached(torso)
    z = logits(5, 3)
    torch.testing.assert_close(twin.log_prob(z), torso.log_prob(z).detach())
    assert not twin.log_prob(z).requires_grad
    assert torso.log_prob(z).requires_grad
    inside = Independent(OneHotCategorical(logits=logits(5, 3, 4).requires_grad_()), 1)
    assert not detached(inside).entropy().requires_grad
    assert inside.entropy().requires_grad


@pytest.mark.parametrize(
    ("q", "code", "discrete"),
    [
        (DiagonalGaussian(torch.tensor([[0.4, 2.0]]), torch.zeros(1, 2)), [[0.4, 2.0]], False),
        (Delta(torch.tensor([[0.4, 2.0]])), [[0.4, 2.0]], False),
        (BernoulliLogits(torch.tensor([[0.4, -2.0]])), [[1.0, 0.0]], True),
        (OneHotLogits(torch.tensor([[[0.4, -2.0], [0.0, 1.0]]])), [[1.0, 0.0, 0.0, 1.0]], True),
    ],
)
def test_a_code_is_the_mean_or_of_discrete_latents_the_mode(
    q: Distribution, code: list[list[float]], discrete: bool
) -> None:
    assert is_discrete(q) is discrete
    assert torch.equal(code_of(q), torch.tensor(code))


class Silent(Delta):
    """A distribution that does not say where it lies."""

    support = Distribution.support


def test_a_distribution_that_says_nothing_is_of_neither() -> None:
    assert is_discrete(Silent(torch.zeros(1, 2))) is None
