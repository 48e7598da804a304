"""FactorVAE's total correlation against Gaussians whose own is known, and what the shuffling keeps and breaks."""

from __future__ import annotations

import math
import re
from functools import partial

import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor, nn

from framework import Keys, Objective, OptionError, Term
from framework.distributions import Delta, DiagonalGaussian, StandardNormal
from framework.testing import check_divergence
from framework_plugins.divergences.density_ratio_total_correlation import (
    DensityRatioTotalCorrelation,
    shuffled_dimensions,
)
from framework_plugins.divergences.kl import KL
from framework_plugins.optimizers.adam import adam


def make(latent_dim: int = 3, hidden: tuple[int, ...] = (8, 8), lr: float = 1e-3) -> DensityRatioTotalCorrelation:
    torch.manual_seed(0)
    return DensityRatioTotalCorrelation(latent_dim=latent_dim, hidden=list(hidden), optimizer=partial(adam, lr=lr))


def correlated(count: int, correlation: float, generator: torch.Generator) -> Tensor:
    """Draws of N(0, [[1, ρ], [ρ, 1]]), whose TC is −½ log(1 − ρ²)."""
    noise = torch.randn(count, 2, generator=generator)
    second = correlation * noise[:, 0] + math.sqrt(1 - correlation**2) * noise[:, 1]
    return torch.stack([noise[:, 0], second], 1)


@pytest.mark.parametrize(("correlation", "tolerance"), [(0.0, 0.01), (0.8, 0.04), (-0.8, 0.04)])
def test_the_total_correlation_of_a_gaussian(correlation: float, tolerance: float) -> None:
    """Tolerance: what 600 noisy steps leave between the critic and the best one: 0.03 over seeds."""
    part = make(2, (32, 32), lr=5e-3)
    algorithm = part.optimizer(part.critic.parameters()).algorithm
    generator = torch.Generator().manual_seed(1)
    for _ in range(600):
        z = correlated(512, correlation, generator)
        loss, metrics = part.critic_loss(Delta(z), StandardNormal(2, z), z)
        algorithm.zero_grad()
        loss.backward()
        algorithm.step()
    fresh = correlated(100_000, correlation, generator)
    with torch.no_grad():
        estimate = part(Delta(fresh), StandardNormal(2, fresh), fresh).item()
    assert estimate == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=tolerance)
    assert metrics["accuracy"] > (0.6 if correlation else 0.4)


def test_shuffling_keeps_the_marginals_and_breaks_the_rest() -> None:
    column = torch.arange(5000.0)
    shuffled = shuffled_dimensions(torch.stack([column, column, -column], 1))
    for dimension, sign in enumerate((1, 1, -1)):
        assert torch.equal((sign * shuffled[:, dimension]).sort().values, column)  # a permutation: nothing twice
        assert not torch.equal(sign * shuffled[:, dimension], column)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # 4 standard errors of a correlation of 0; of 1 or −1 if a permutation were shared
        assert abs(pearsonr(shuffled[:, one], shuffled[:, other]).statistic) < 4 / math.sqrt(5000)


def test_shuffling_draws_from_the_default_generator() -> None:
    z = torch.randn(20, 3)
    torch.manual_seed(2)
    first = shuffled_dimensions(z)
    torch.manual_seed(2)
    assert torch.equal(first, shuffled_dimensions(z))
    assert not torch.equal(first, shuffled_dimensions(z))


class Records(nn.Module):
    """A critic that says a·z₁ and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0))

    def forward(self, z: Tensor) -> Tensor:
        self.shown = z
        return self.a * z[:, :1]


@pytest.mark.parametrize("count", [2, 3, 10, 11])
def test_halves_and_values_by_hand(count: int) -> None:
    part = make()
    part.critic = critic = Records()
    z = torch.randn(count, 3, generator=torch.Generator().manual_seed(3))
    loss, metrics = part.critic_loss(Delta(z), StandardNormal(3, z), z)
    half = count // 2
    assert torch.equal(critic.shown[:half], z[:half])
    assert torch.equal(critic.shown[half:].sort(0).values, z[half:].sort(0).values)
    logits = (2 * critic.shown[:, 0]).tolist()
    expected = sum(math.log1p(math.exp(-logit)) for logit in logits[:half]) / half
    expected += sum(math.log1p(math.exp(logit)) for logit in logits[half:]) / (count - half)
    assert loss.item() == pytest.approx(expected, abs=1e-5)  # float32
    right = sum(logit > 0 for logit in logits[:half]) + sum(logit <= 0 for logit in logits[half:])
    assert metrics["accuracy"].item() == pytest.approx(right / count)
    # the value is the mean logit of all rows, as they are
    state = torch.get_rng_state()
    assert part(Delta(z), StandardNormal(3, z), z).item() == pytest.approx(2 * z[:, 0].mean().item(), abs=1e-6)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(critic.shown, z)


def gaussian() -> tuple[DiagonalGaussian, StandardNormal, Tensor, list[Tensor]]:
    leaves = [torch.randn(7, 3).requires_grad_(), torch.zeros(7, 3, requires_grad=True)]
    q = DiagonalGaussian(*leaves)
    return q, StandardNormal(3, torch.zeros(())), q.rsample(), leaves


def test_the_critics_loss_moves_the_critic_alone() -> None:
    part = make()
    q, p, z, leaves = gaussian()
    ((label, loss, metrics),) = Objective({"tc": Term(part)}).critic_losses(q, p, z, Keys(0, "test", 0))
    loss.backward()
    assert (label, set(metrics)) == ("tc", {"tc/critic_loss", "tc/critic_accuracy"})
    assert all(leaf.grad is None for leaf in leaves)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in part.critic.parameters())


def test_the_joint_pass_leaves_the_critic_alone() -> None:
    part = make()
    q, p, z, leaves = gaussian()
    Objective({"tc": Term(part, 10.0)})(q, p, z, counters=None, keys=Keys(0, "test", 0))[0].backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in part.critic.parameters())
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.any(1).all()  # each example has its gradient, in both halves


def test_laws_in_one_dimension_and_three() -> None:
    check_divergence(make())
    check_divergence(make(latent_dim=1), latent_dim=1)


def test_the_part_says_what_it_logs() -> None:
    part = make()
    assert part.aggregate
    assert not part.rewardable
    assert not part.needs_density
    assert part.estimator == "mean logit of the critic as it is, joint against shuffled dimensions; no bound"
    objective = Objective({"kl": Term(KL()), "tc": Term(part, 35.0)})
    assert objective.implied_coefficients() == {"I(x;z)": 1.0, "KL(q(z)‖p)": 1.0, "TC(q(z))": 35.0}


def test_messages() -> None:
    one = torch.zeros(1, 3)
    message = (
        "density_ratio_total_correlation: the critic compares two halves of a batch and expects 2 examples or more, "
        "found 1; write a larger data.batch_size"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make().critic_loss(Delta(one), StandardNormal(3, one), one)
    assert make()(Delta(one), StandardNormal(3, one), one).isfinite()
    with pytest.raises(OptionError, match=r"^hidden: expected 1 or more for each layer, found \[8, -1\]$"):
        make(hidden=(8, -1))
