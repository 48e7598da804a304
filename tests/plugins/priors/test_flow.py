"""The flows: their density, their samples, and that they learn."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from framework import Counters, OptionError
from framework.distributions import DiagonalGaussian, kl_divergence
from framework.testing import check_prior
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.flow import Flow

pytest.importorskip("zuko", reason="the extra `flow` is not installed")
KINDS = ["nsf", "maf", "coupling"]
STEP = 0.1


def flow(kind: str, latent_dim: int = 2, **options: Any) -> Flow:
    torch.manual_seed(0)
    return Flow(latent_dim=latent_dim, kind=kind, hidden=[8], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_its_density_integrates_to_one(kind: str) -> None:
    """As it is initialised, which is no normal distribution."""
    steps = torch.arange(-12, 12, STEP, dtype=torch.float64)
    z = torch.cartesian_prod(steps, steps)  # [N, 2]
    with torch.no_grad():
        assert (flow(kind)().sample((1000,)).std(0) - 1).abs().max() > 0.1
        total = flow(kind).double()().log_prob(z).exp().sum().item() * STEP**2
    assert total == pytest.approx(1, abs=5e-4)  # splines have kinks, which a grid of this step sees


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_the_density(kind: str) -> None:
    p = flow(kind).double()()
    steps = torch.arange(-12, 12, STEP, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    torch.manual_seed(1)
    count = 20_000
    with torch.no_grad():
        weights = p.log_prob(grid).exp()[:, None] * STEP**2
        z = p.sample((count,))
    for power in (1, 2):
        error = z.pow(power).std(0) / math.sqrt(count)
        assert ((z.pow(power).mean(0) - (weights * grid.pow(power)).sum(0)).abs() < 4 * error + 5e-3).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transforms", [1, 2])
def test_it_obeys_the_laws(kind: str, transforms: int) -> None:
    check_prior(Flow(latent_dim=3, kind=kind, transforms=transforms, hidden=[8]))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_kl_holds_it_to(kind: str) -> None:
    """Posteriors on a circle: their mixture is far from a Gaussian, which would have entropy log 2πeσ² = 2.95 nats."""
    angles = torch.linspace(0, 2 * math.pi, 65)[:-1]
    mean = 1.8 * torch.stack([angles.cos(), angles.sin()], dim=1)  # [64, 2]
    q = DiagonalGaussian(mean, torch.full_like(mean, -2.0))
    torch.manual_seed(0)
    prior = Flow(latent_dim=2, kind=kind, hidden=[32], transforms=4)
    optimizer = adam(prior.parameters(), lr=1e-2)

    def divergence() -> Tensor:
        return kl_divergence(q, prior(), q.rsample()).mean()

    before = divergence().item()
    for step in range(150):
        optimizer.algorithm.zero_grad()
        divergence().backward()
        optimizer.step(Counters(optimizer_steps=step))
    with torch.no_grad():
        after = sum(divergence().item() for _ in range(20)) / 20
    # Any Gaussian prior: at best log 2π(1.62 + 0.018) + 1 + 2·2 − 1 − log 2π = log 1.64 + 4 = 4.49 nats
    assert after < 4.3 < before


@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_has_a_gradient_to_the_posterior(kind: str) -> None:
    mean = torch.zeros(4, 2, requires_grad=True)
    q = DiagonalGaussian(mean, torch.zeros(4, 2))
    torch.manual_seed(1)
    kl_divergence(q, flow(kind)(), q.rsample()).sum().backward()
    assert mean.grad is not None
    assert mean.grad.all()
    assert mean.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 1}, "^latent_dim: expected 2 or more for prior flow, found 1$"),
        ({"transforms": 0}, "^transforms: expected 1 or more, found 0$"),
        ({"hidden": []}, r"^hidden: expected 1 or more for each layer, and a layer at least, found \[\]$"),
        ({"hidden": [4, 0]}, r"^hidden: expected 1 or more for each layer, and a layer at least, found \[4, 0\]$"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Flow(**{"latent_dim": 2, **options})


def test_without_zuko_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_zuko(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("zuko"):
            raise ModuleNotFoundError("No module named 'zuko'")
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_zuko)
    message = (
        r"^name: expected zuko, whose flows it is made of, found flow, and No module named 'zuko'; "
        r"write pip install zuko$"
    )
    with pytest.raises(OptionError, match=message):
        Flow(latent_dim=2)
