"""The importance-weighted bound against enumeration, and its two gradients against each other, in float64.

A model of one latent and one observation, z ~ N(0, 1) and x|z ~ N(wz, 1), with q(z|x) = N(m, v): log p(x), the exact
posterior and every expectation have closed forms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from framework.bounds import doubly_reparametrised, importance_weighted_bound
from framework.distributions import DiagonalGaussian, StandardNormal, detached

X = torch.tensor([0.7, -1.9, 3.1], dtype=torch.float64)  # [B]


def log_weights(w: Tensor, q: DiagonalGaussian, z: Tensor) -> Tensor:
    """log p(x|z) + log p(z) − log q(z|x), [K, B], for z [B, K, 1]."""
    draws = z.transpose(0, 1)  # [K, B, 1]
    likelihood = Normal(w * draws.squeeze(-1), torch.ones((), dtype=torch.float64))
    return likelihood.log_prob(X) + StandardNormal(1, X).log_prob(draws) - q.log_prob(draws)


def leaves(mean: float = 0.2, log_scale: float = -0.1, w: float = 1.3) -> tuple[Tensor, Tensor, Tensor]:
    def leaf(value: float, size: int) -> Tensor:
        return torch.full((size, 1), value, dtype=torch.float64).requires_grad_()

    return leaf(mean, len(X)), leaf(log_scale, len(X)), torch.tensor(w, dtype=torch.float64).requires_grad_()


def draws(q: DiagonalGaussian, samples: int) -> Tensor:
    return torch.stack([q.rsample() for _ in range(samples)], 1)  # [B, K, 1]


def test_the_bound_is_the_logarithm_of_the_mean_weight() -> None:
    weights = torch.tensor([[1.0, 4.0], [3.0, 0.5], [5.0, 0.0]], dtype=torch.float64)  # [K, B]; mean 3 and 1.5
    torch.testing.assert_close(
        importance_weighted_bound(weights.log()), torch.tensor([3.0, 1.5], dtype=torch.float64).log()
    )
    # the weights of images are of size exp(−100): their own mean would be zero
    torch.testing.assert_close(
        importance_weighted_bound(weights.log() - 2000), torch.tensor([3.0, 1.5], dtype=torch.float64).log() - 2000
    )


def test_one_sample_is_the_elbos() -> None:
    log_w = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(importance_weighted_bound(log_w), log_w[0])


def test_the_bound_grows_with_the_samples_towards_log_p() -> None:
    torch.manual_seed(1)
    mean, log_scale, w = leaves()
    q = DiagonalGaussian(mean.expand(len(X), 1), log_scale)
    truth = Normal(0.0, (1 + w**2).sqrt()).log_prob(X)  # [B]
    estimates = []
    for samples in (1, 5, 50):
        many = torch.stack([importance_weighted_bound(log_weights(w, q, draws(q, samples))) for _ in range(2000)])
        estimates.append(many.mean(0))
    assert bool((estimates[0] < estimates[1]).all())
    assert bool((estimates[1] < estimates[2]).all())
    assert bool((estimates[2] < truth + 0.01).all())
    assert bool((truth - estimates[2] < 0.1).all())


def test_at_the_exact_posterior_every_weight_is_p_of_x_and_the_encoders_gradient_is_nothing() -> None:
    w = torch.tensor(1.3, dtype=torch.float64).requires_grad_()
    mean = (w * X / (1 + w**2)).detach().unsqueeze(-1).requires_grad_()
    log_scale = torch.full((len(X), 1), -0.5 * math.log(1 + 1.3**2), dtype=torch.float64).requires_grad_()
    q = DiagonalGaussian(mean, log_scale)
    z = draws(q, 4)
    bound = doubly_reparametrised(log_weights(w, detached(q), z), z)
    torch.testing.assert_close(bound, Normal(0.0, (1 + w**2).sqrt()).log_prob(X))
    gradients = torch.autograd.grad(bound.sum(), [mean, log_scale])
    for gradient in gradients:  # the plain gradient is zero in expectation alone
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    plain = importance_weighted_bound(log_weights(w, q, draws(q, 4)))
    assert float(torch.autograd.grad(plain.sum(), mean)[0].abs().min()) > 1e-3


def test_the_two_gradients_to_the_model_are_the_same_for_the_same_samples() -> None:
    mean, log_scale, w = leaves()
    q = DiagonalGaussian(mean, log_scale)
    torch.manual_seed(2)
    z = draws(q, 5)
    plain = importance_weighted_bound(log_weights(w, q, z))
    (expected,) = torch.autograd.grad(plain.sum(), w, retain_graph=True)
    doubly = doubly_reparametrised(log_weights(w, detached(q), z), z)
    torch.testing.assert_close(doubly, plain)
    torch.testing.assert_close(torch.autograd.grad(doubly.sum(), w)[0], expected)


def test_the_two_gradients_to_the_encoder_agree_in_expectation_and_the_double_one_varies_less() -> None:
    torch.manual_seed(3)
    found: dict[str, list[Tensor]] = {"plain": [], "doubly": []}
    for _ in range(4000):
        for name in found:
            mean, log_scale, w = leaves()
            q = DiagonalGaussian(mean, log_scale)
            z = draws(q, 8)
            if name == "plain":
                bound = importance_weighted_bound(log_weights(w, q, z))
            else:
                bound = doubly_reparametrised(log_weights(w, detached(q), z), z)
            found[name].append(torch.cat(torch.autograd.grad(bound.sum(), [mean, log_scale])).flatten())
    plain, doubly = (torch.stack(found[name]) for name in found)  # [4000, 2B]
    error = ((plain.var(0) + doubly.var(0)) / len(plain)).sqrt()
    assert float(((plain.mean(0) - doubly.mean(0)) / error).abs().max()) < 4
    assert float(doubly.var(0).sum()) < 0.5 * float(plain.var(0).sum())


def test_without_a_graph_the_double_bound_is_the_plain_one() -> None:
    log_w = torch.randn(3, 2, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(doubly_reparametrised(log_w, torch.zeros(2, 3, 1)), importance_weighted_bound(log_w))
