"""The gradients of a frozen policy, against those that training takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from framework import Keys
from framework.collector import Collector
from framework.learners.policy_gradient import PolicyGradient
from framework.rollout import Rollout
from framework.schedule import Counters
from framework.show import check_recipe
from framework.surrogate import gradients, policy_parameters, samples_of
from tests.framework.small_runs import CARTPOLE, CORRIDOR, LAKE, written


def agent_of(folder: Path, recipe: str, *overrides: str) -> PolicyGradient:
    learner = check_recipe(written(folder, recipe), overrides, [], folder)[1].learner
    assert isinstance(learner, PolicyGradient)
    return learner.eval()


@torch.no_grad()
def rollout_of(agent: PolicyGradient) -> Rollout:
    torch.manual_seed(0)
    collector = Collector(agent.environment.make(), seed=0, stream="test")
    return collector.collect_episodes(partial(agent.act, greedy=False), 0)


TRUNK = "trunk={name: mlp, hidden: [6]}"


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        (CARTPOLE, []),
        (CARTPOLE, ["baseline=leave_one_out", "discount_weighting=true"]),
        (CARTPOLE, ["baseline={name: moving_average}"]),
        (CARTPOLE, ["environment.normalize_observation=true", "environment.normalize_reward=true"]),
        (CARTPOLE, [TRUNK]),
        (CORRIDOR, ["baseline=leave_one_out"]),
        (LAKE, []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.split()[1],
)
def test_it_is_the_gradient_that_reinforce_takes(tmp_path: Path, recipe: str, overrides: list[str]) -> None:
    agent = agent_of(tmp_path, recipe, *overrides)
    rollout = rollout_of(agent)
    if agent.observations is not None:
        agent.observations.update(rollout.observation[:-1], rollout.mask)
    assert agent.rewards is None or not rollout.reward.eq(agent.rewards(3 * rollout.reward)).all()
    if agent.baseline is not None:
        agent.baseline.update(samples_of(agent, rollout))
    (loss,) = agent.losses(agent.digest(rollout), Counters(), Keys(0, "train", 0))
    assert loss.value is not None
    expected = torch.autograd.grad(loss.value, policy_parameters(agent))
    (found,) = gradients(agent, rollout, [agent.baseline])
    # The same sums in float32, in another order.
    torch.testing.assert_close(found, -torch.cat([one.flatten() for one in expected]).double(), rtol=1e-4, atol=1e-5)


def test_every_baseline_is_applied_to_the_same_rollout(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CARTPOLE, "baseline=leave_one_out")
    rollout = rollout_of(agent)
    both = gradients(agent, rollout, [None, agent.baseline])
    assert both.shape == (2, 4 * 8 + 8 + 8 * 2 + 2)
    torch.testing.assert_close(both[0], gradients(agent, rollout, [None])[0], rtol=0, atol=0)
    assert (both[0] != both[1]).any()
    assert all(parameter.grad is None for parameter in agent.parameters())


def test_a_truncated_episode_counts_as_ended(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CORRIDOR, "environment.max_episode_steps=2", "baseline={name: value, initial: -7.0}")
    rollout = rollout_of(agent)
    assert rollout.truncated[-1].all()  # the goal is three steps away
    torch.testing.assert_close(samples_of(agent, rollout).returns, torch.tensor([[-1.9, -1.0]]).expand(2, 2))
