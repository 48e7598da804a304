"""Estimates of divergences against the linear-Gaussian model's closed forms: means over batches, three standard errors.

Those of `total_correlation`, `covariance`, `sliced_wasserstein` and `jensen_shannon` are beside their other tests.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framework import Divergence
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.divergences.mutual_information import MutualInformation
from tests.framework.linear_gaussian import LinearGaussianPrior, linear_gaussian, linear_posterior

BATCH, BATCHES = 256, 40
MODEL = linear_gaussian(0)
POSTERIOR = linear_posterior(MODEL, seed=1, strength=0.3)


def values(part: Divergence, batch: int = BATCH) -> Tensor:
    """One value a batch of fresh examples, [BATCHES]."""
    torch.manual_seed(0)
    p = LinearGaussianPrior(MODEL.latents)()
    found = []
    for x in MODEL.sample(BATCHES * batch, seed=2).chunk(BATCHES):
        q = POSTERIOR.distribution(x)
        found.append(part(q, p, q.sample()).mean())
    return torch.stack(found)


def error(found: Tensor) -> float:
    return 3 * found.std().item() / math.sqrt(BATCHES)


def test_kl() -> None:
    found = values(KL())
    assert abs(found.mean().item() - POSTERIOR.kl().item()) < error(found)


@pytest.mark.parametrize("estimate", ["sampled", "closed_form"])
def test_the_u_statistic_is_unbiased_for_the_mmd_of_the_aggregate_posterior(estimate: str) -> None:
    """q(z) is no mixture of the batch's posteriors but the Gaussian over all x; width 2D, D = 3."""
    found = values(MMD(latent_dim=3, kernel="rbf", estimate=estimate))
    exact = POSTERIOR.mmd_squared(6.0).item()
    assert abs(found.mean().item() - exact) < error(found)
    assert exact > 2 * error(found)  # the test would tell it from zero
    biased = values(MMD(latent_dim=3, kernel="rbf", estimate=estimate, statistic="v"))
    assert biased.mean() > found.mean()


def test_the_bounds_of_the_mutual_information_enclose_it() -> None:
    """The sandwich of the two expectations, which closes as the batch grows."""
    exact = POSTERIOR.mutual_information().item()
    widths = []
    for batch in (16, BATCH):
        lower, upper = (values(MutualInformation(bound=bound), batch) for bound in ("lower", "upper"))
        assert lower.mean().item() - error(lower) < exact < upper.mean().item() + error(upper)
        widths.append((upper.mean() - lower.mean()).item())
    assert widths[0] > 4 * widths[1] > 0


def test_the_kl_is_the_information_and_the_aggregate_s_divergence() -> None:
    """E_x KL(q(z|x)‖p) = I(x;z) + TC + Σ_j KL(q(z_j)‖p(z_j)), each term in closed form."""
    parts = POSTERIOR.mutual_information() + POSTERIOR.total_correlation() + POSTERIOR.marginal_kl().sum()
    torch.testing.assert_close(parts, POSTERIOR.kl())
