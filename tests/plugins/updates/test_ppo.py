"""PPO's loss, gradient, metrics and adaptive penalty against formulas written out in float64."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence

from framework import CompositeDivergence, Divergence, OptionError, Term
from framework.action_distributions import CategoricalLogits
from framework.distributions import DiagonalGaussian
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.updates import ppo
from framework_plugins.updates.ppo import PPO
from tests.plugins.updates.decisions import decisions, numbers

EXACT = {"rtol": 1e-13, "atol": 1e-13}  # float64, a few dozen roundings


def gradient_of(loss: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), leaf)[0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [  # ε = 0.2; the gradient is to log π, of which r is the derivative of r
        (0.5, 2.0, -1.0, -1.0),  # below, and to be raised: not clipped
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # above, and better than expected: raised no further
        (0.5, -2.0, 1.6, 0.0),  # below, and worse than expected: lowered no further
        (1.1, -2.0, 2.2, 2.2),
        (1.5, -2.0, 3.0, 3.0),  # above, and to be lowered: not clipped
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_each_case_of_the_clip(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    log_prob = numbers(math.log(ratio) - 3.0).requires_grad_()
    found, _ = PPO(clip=0.2)(decisions(log_prob, numbers(advantage), acting_log_prob=numbers(-3.0)))
    torch.testing.assert_close(found, numbers(loss), **EXACT)
    torch.testing.assert_close(gradient_of(found, log_prob), numbers(gradient), **EXACT)


def random_case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_prob, acting, advantage, weight = torch.randn(4, 50, 4, generator=generator, dtype=torch.float64)
    return (0.5 * log_prob - 2).requires_grad_(), 0.5 * acting - 2, advantage, weight.abs()


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.9])
def test_the_loss_is_the_papers_minimum(clip: float) -> None:
    log_prob, acting, advantage, weight = random_case()
    found, metrics = PPO(clip=clip)(decisions(log_prob, advantage, acting_log_prob=acting, weight=weight))
    ratio = (log_prob - acting).exp()
    expected = -weight * torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradient_of(found, log_prob), gradient_of(expected, log_prob), **EXACT)
    assert metrics["clipped"].item() == pytest.approx(((ratio - 1).abs() > clip).double().mean().item())
    assert metrics["kl"].item() == pytest.approx((ratio - 1 - ratio.log()).mean().item(), rel=1e-12)
    assert set(metrics) == {"kl", "clipped"}


def test_the_first_pass_is_a_policy_gradient() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    action = torch.tensor([0, 1, 2, 2, 1, 0])
    advantage, weight = numbers(1.0, -2.0, 3.0, -4.0, 0.5, 0.0), numbers(1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    policy = CategoricalLogits(logits)
    log_prob = policy.log_prob(action)
    given = decisions(
        log_prob,
        advantage,
        weight=weight,
        policy=policy,
        acting=CategoricalLogits(logits.detach()),
        action=action,
    )
    expected = gradient_of(-weight * advantage * torch.log_softmax(logits, -1)[range(6), action], logits)
    for update in (PPO(), PPO(clip=0.01), PPO(penalty=KL(), penalty_weight=7.0), PPO(clip=None, penalty=KL())):
        loss, metrics = update(given)
        found = torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0]
        torch.testing.assert_close(found, expected, **EXACT)
        assert metrics["kl"].item() == 0


def categorical(logits: Tensor) -> tuple[Distribution, Distribution]:
    return CategoricalLogits(logits), Categorical(logits=logits, validate_args=False)


def gaussian(parameters: Tensor) -> tuple[Distribution, Distribution]:
    mean, log_scale = parameters.chunk(2, -1)
    in_torchs_words = Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)
    return DiagonalGaussian(mean, log_scale), in_torchs_words


@pytest.mark.parametrize("kind", [categorical, gaussian])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_kl_penalises_a_policy_as_it_regularises_a_posterior(kind: Any, clip: float | None) -> None:
    generator = torch.Generator().manual_seed(1)
    now, before = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64)  # [T, N, parameters]
    now.requires_grad_()
    (policy, torchs), (acting, torchs_acting) = kind(now), kind(before)
    action = torchs_acting.sample()
    advantage = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    weight = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    log_prob, acting_log_prob = policy.log_prob(action), acting.log_prob(action)
    loss, metrics = PPO(clip=clip, penalty=KL(), penalty_weight=0.3).double()(
        decisions(
            log_prob,
            advantage,
            acting_log_prob=acting_log_prob,
            weight=weight,
            policy=policy,
            acting=acting,
            action=action,
        )
    )
    ratio = (torchs.log_prob(action) - torchs_acting.log_prob(action)).exp()
    surrogate = ratio * advantage
    if clip is not None:
        surrogate = torch.min(surrogate, ratio.clamp(1 - clip, 1 + clip) * advantage)
    penalty = kl_divergence(torchs_acting, torchs)  # KL(π_acting‖π), and not the other way round
    # β is a buffer of float32's making; what the ratio loses beyond e¹⁰ is looked at elsewhere.
    near = ratio < math.exp(10)
    assert near.sum() > 10
    expected = weight * (-surrogate + torch.tensor(0.3).double() * penalty)
    torch.testing.assert_close(loss[near], expected[near], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad(loss[near].sum(), now, retain_graph=True)[0],
        gradient_of(expected[near], now),
        rtol=1e-10,
        atol=1e-10,
    )
    assert metrics["penalty"].item() == pytest.approx(penalty.mean().item(), rel=1e-10)
    assert metrics["penalty_weight"].item() == pytest.approx(0.3)
    assert ("clipped" in metrics) == (clip is not None)


def test_the_kl_metric_is_unbiased_for_the_kl_of_the_acting_policy() -> None:
    # Every action once, and acting without preference: the mean over the decisions is the expectation.
    policy = CategoricalLogits(torch.randn(7, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    acting = CategoricalLogits(torch.zeros(7, dtype=torch.float64))
    action = torch.arange(7)
    given = decisions(
        policy.log_prob(action), torch.ones(7).double(), acting_log_prob=acting.log_prob(action), action=action
    )
    _, metrics = PPO()(given)
    exact = (acting.probs * (acting.logits - policy.logits)).sum().item()
    assert metrics["kl"].item() == pytest.approx(exact, rel=1e-12)


def test_the_kl_metric_of_small_steps_is_not_lost_to_rounding() -> None:
    log_ratio = torch.tensor([1e-3, -1e-3], dtype=torch.float32)  # (r − 1) − log r is about 5e-7 there
    _, metrics = PPO()(decisions(log_ratio, torch.ones(2), acting_log_prob=torch.zeros(2)))
    assert metrics["kl"].item() == pytest.approx(5e-7, rel=2e-3)


def test_metrics_are_means_over_the_mask_and_what_is_masked_may_be_anything() -> None:
    log_prob = numbers(math.log(2.0), 0.1, 0.0, 5.0).requires_grad_()
    acting_log_prob = numbers(0.0, 0.0, -math.inf, math.nan)
    mask = torch.tensor([True, True, False, False])
    advantage = numbers(1.0, 1.0, 0.0, 0.0)
    loss, metrics = PPO()(decisions(log_prob, advantage, acting_log_prob=acting_log_prob, mask=mask))
    assert metrics["clipped"].item() == 0.5
    expected = (2 - 1 - math.log(2) + math.exp(0.1) - 1 - 0.1) / 2
    assert metrics["kl"].item() == pytest.approx(expected, rel=1e-12)
    gradient = gradient_of(torch.where(mask, loss, 0.0), log_prob)
    torch.testing.assert_close(gradient, numbers(0.0, -math.exp(0.1), 0.0, 0.0), **EXACT)


def test_metrics_where_nothing_was_decided_are_0() -> None:
    zeros = numbers(0.0, 0.0)
    _, metrics = PPO()(decisions(zeros, zeros, mask=torch.zeros(2, dtype=torch.bool)))
    assert {name: value.item() for name, value in metrics.items()} == {"kl": 0.0, "clipped": 0.0}


def test_metrics_have_no_graph_and_keep_their_values() -> None:
    given = gaussian_decisions()
    update = PPO(penalty=KL(), penalty_target=0.01)
    _, metrics = update(given)
    assert {name: list(value.shape) for name, value in metrics.items()} == {
        "kl": [],
        "clipped": [],
        "penalty": [],
        "penalty_weight": [],
    }
    assert not any(value.requires_grad for value in metrics.values())
    update.finish({"penalty": 1.0})
    assert metrics["penalty_weight"].item() == 1.0


def gaussian_decisions() -> Any:
    mean = torch.ones(3, 2, requires_grad=True)
    policy, acting = DiagonalGaussian(mean, 0 * mean), DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    action = torch.zeros(3, 2)
    return decisions(
        policy.log_prob(action),
        torch.ones(3),
        acting_log_prob=acting.log_prob(action),
        policy=policy,
        acting=acting,
        action=action,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("log_ratio", [1000.0, 88.0, 11.5, -1000.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_no_ratio_overflows(dtype: torch.dtype, log_ratio: float, advantage: float, clip: float | None) -> None:
    leaf = torch.tensor([log_ratio], dtype=dtype, requires_grad=True)
    given = decisions(
        leaf,
        torch.tensor([advantage], dtype=dtype),
        acting_log_prob=torch.zeros(1, dtype=dtype),
        policy=DiagonalGaussian(leaf[:, None], leaf[:, None] * 0),
        acting=DiagonalGaussian(leaf[:, None].detach(), leaf[:, None].detach() * 0),
    )
    update = PPO(clip=clip, penalty=KL() if clip is None else None)
    loss, metrics = update(given)
    assert gradient_of(loss, leaf).isfinite().all()
    if dtype is not torch.float16 or log_ratio < 12:  # e¹⁰·(1 + 990) is itself beyond half precision
        assert loss.isfinite().all()
        assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("log_ratio", [10.0, 12.0, 500.0])
def test_beyond_e10_the_ratio_goes_on_along_its_tangent(log_ratio: float) -> None:
    leaf = numbers(log_ratio).requires_grad_()
    loss, _ = PPO()(decisions(leaf, numbers(-1.0), acting_log_prob=numbers(0.0)))
    torch.testing.assert_close(loss, numbers(math.exp(10) * (1 + log_ratio - 10)), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_of(loss, leaf), numbers(math.exp(10)), rtol=1e-12, atol=0)


def test_the_weight_of_the_penalty_is_adapted() -> None:
    update = PPO(clip=None, penalty=KL(), penalty_weight=3.0, penalty_target=0.01)
    found = []
    # The paper's bounds are 0.015 and 0.00667; on them, and between, the weight stays.
    for penalty in (0.0151, 0.0149, 0.01, 0.0067, 0.0066, 0.0, 0.0, 1.0):
        update.finish({"kl": 9.0, "penalty": penalty})
        found.append(update.weight.item())
    assert found == [6.0, 6.0, 6.0, 6.0, 3.0, 1.5, 0.75, 1.5]


def test_the_weight_comes_back_from_wherever_it_was_driven() -> None:
    update = PPO(penalty=KL(), penalty_weight=3.0, penalty_target=0.01)
    for penalty, extreme in ((0.0, 3.0 * 2.0**-30), (1.0, 3.0 * 2.0**30)):
        for _ in range(200):
            update.finish({"penalty": penalty})
        assert update.weight.item() == extreme
    update.finish({"penalty": 0.0})
    assert update.weight.item() == 3.0 * 2.0**29


def test_the_weight_is_kept_with_the_state_and_stays_without_a_target() -> None:
    update, other = (PPO(penalty=KL(), penalty_target=0.01) for _ in range(2))
    update.finish({"penalty": 1.0})
    other.load_state_dict(update.state_dict())
    assert other.weight.item() == 2.0
    fixed = PPO(penalty=KL(), penalty_weight=5)
    fixed.finish({"penalty": 1.0})
    assert fixed.weight.item() == 5.0
    assert PPO().state_dict() == {}
    PPO().finish({"kl": 1.0})


def test_passes_stop_where_the_kl_is_too_large() -> None:
    update = PPO(stop_at_kl=0.02)
    assert [update.goes_on({"kl": kl}) for kl in (0.0, 0.02, 0.0201, math.inf, math.nan)] == [True] * 2 + [False] * 3
    assert PPO().goes_on({"kl": 100.0})


def test_options() -> None:
    update = PPO()
    assert (update.steps, update.passes, update.minibatches) == (128, 4, 4)
    assert (update.sums_episodes, update.normalize_advantages) == (False, True)
    assert [PPO().compares, PPO(penalty=KL()).compares] == [False, True]


class Pair(CompositeDivergence):
    def terms(self) -> dict[str, Term]:
        return {}


class OfAll(Divergence):
    aggregate = True

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.mean()


PER_DECISION = "a divergence with a value for each decision, no composite and no aggregate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected 1 or more, found 0"),
        ({"passes": 0}, "passes: expected 1 or more, found 0"),
        ({"minibatches": -1}, "minibatches: expected 1 or more, found -1"),
        ({"clip": 0.0}, "clip: expected a number between 0 and 1, both excluded, or null, found 0.0"),
        ({"clip": 1.0}, "clip: expected a number between 0 and 1, both excluded, or null, found 1.0"),
        (
            {"clip": None},
            "clip: expected a number, or a penalty: one of them keeps the policy near the one that acted, found null; "
            "write clip: 0.2, or penalty: {name: kl}",
        ),
        ({"stop_at_kl": 0.0}, "stop_at_kl: expected a positive number, found 0.0"),
        ({"penalty": KL(), "penalty_weight": -1.0}, "penalty_weight: expected a positive number, found -1.0"),
        ({"penalty": KL(), "penalty_target": 0.0}, "penalty_target: expected a positive number, found 0.0"),
        (
            {"penalty_weight": 2.0},
            "penalty_weight: expected a penalty that it is for, found 2.0; write penalty: {name: kl}",
        ),
        (
            {"penalty_target": 0.01},
            "penalty_target: expected a penalty that it is for, found 0.01; write penalty: {name: kl}",
        ),
        (
            {"penalty": MMD(latent_dim=2)},
            f"penalty: expected {PER_DECISION}, found mmd; write penalty: {{name: kl}}",
        ),
        ({"penalty": OfAll()}, f"penalty: expected {PER_DECISION}, found OfAll; write penalty: {{name: kl}}"),
        ({"penalty": Pair()}, f"penalty: expected {PER_DECISION}, found Pair; write penalty: {{name: kl}}"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        PPO(**options)
    assert str(caught.value) == message


def test_the_examples_run() -> None:
    results = doctest.testmod(ppo)
    assert results.attempted > 0
    assert results.failed == 0


def test_no_mask_is_a_mask_that_is_true_everywhere() -> None:
    log_prob, acting, advantage, weight = random_case()
    masked = decisions(log_prob, advantage, acting_log_prob=acting, weight=weight)
    expected, found = (PPO(clip=0.2)(one) for one in (masked, replace(masked, mask=None)))
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    for name, metric in expected[1].items():
        torch.testing.assert_close(found[1][name].to(metric), metric, **EXACT)
