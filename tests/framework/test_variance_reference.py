"""The exact expectation of a policy-gradient estimate, against trajectories that are counted one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from framework.dynamic_programming import policy_gradient
from framework.errors import OptionError
from framework.markov import FiniteMDP, from_gymnasium
from framework.trajectories import enumerate_trajectories
from framework.variance_reference import decision_values, expected_gradient
from tests.framework.finite_processes import chain, random_logits, random_process
from tests.framework.small_runs import CARTPOLE, CORRIDOR, LAKE
from tests.framework.test_surrogate import agent_of

EXACT = {"rtol": 1e-11, "atol": 1e-12}  # float64 sums of thousands of terms


def small(seed: int) -> tuple[FiniteMDP, Tensor]:
    mdp = random_process(seed, states=2, actions=2, discount=0.8, ends=0.3)
    return mdp, random_logits(seed, mdp)


def enumerated(mdp: FiniteMDP, logits: Tensor, horizon: int, *, weighted: bool) -> Tensor:
    """The estimate of every trajectory, weighed by its probability, [S, A]."""
    leaf = logits.clone().requires_grad_()
    surrogate = torch.zeros((), dtype=torch.float64)
    for one in enumerate_trajectories(mdp, logits.softmax(-1), horizon):
        worth = 0.0
        for t in reversed(range(len(one.actions))):
            worth = one.rewards[t] + mdp.discount * worth
            weight = mdp.discount**t if weighted else 1.0
            chosen = leaf.log_softmax(-1)[one.states[t], one.actions[t]]
            surrogate = surrogate + one.probability * weight * worth * chosen
    return torch.autograd.grad(surrogate, leaf)[0]


def by_values(mdp: FiniteMDP, logits: Tensor, horizon: int | None, *, weighted: bool) -> Tensor:
    leaf = logits.clone().requires_grad_()
    worth = decision_values(mdp, logits.softmax(-1), horizon, weighted=weighted)
    return torch.autograd.grad((worth * leaf.softmax(-1)).sum(), leaf)[0]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_with_a_time_limit_it_is_the_mean_over_all_trajectories(seed: int, weighted: bool) -> None:
    mdp, logits = small(seed)
    found = by_values(mdp, logits, 4, weighted=weighted)
    torch.testing.assert_close(found, enumerated(mdp, logits, 4, weighted=weighted), **EXACT)


@pytest.mark.parametrize("seed", range(2))
def test_without_one_it_is_the_gradient_of_the_return(seed: int) -> None:
    mdp, logits = small(seed)
    torch.testing.assert_close(by_values(mdp, logits, None, weighted=True), policy_gradient(mdp, logits), **EXACT)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_late_time_limit_is_none(weighted: bool) -> None:
    mdp, logits = small(0)
    found = by_values(mdp, logits, 300, weighted=weighted)
    torch.testing.assert_close(found, by_values(mdp, logits, None, weighted=weighted), **EXACT)


def test_an_endless_episode_has_no_expectation_without_a_limit() -> None:
    mdp = chain((1.0, 0))
    policy = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(OptionError, match="goes on for ever"):
        decision_values(mdp, policy, None, weighted=True)
    assert decision_values(mdp, policy, 3, weighted=True)[0, 0] == 3 + 2 + 1


def test_of_an_agent_it_is_to_its_own_parameters(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, LAKE, "discount_weighting=true", "environment.max_episode_steps=400")
    with torch.no_grad():
        next(agent.policy.parameters()).normal_(generator=torch.Generator().manual_seed(0))
    one = agent.environment.make_one()
    mdp = from_gymnasium(one, discount=0.9)
    one.close()
    (preferences,) = agent.policy.parameters()
    found = expected_gradient(agent)
    assert found is not None
    # 0.9**400 is 5e-19; the agent's policy is float32.
    torch.testing.assert_close(found, policy_gradient(mdp, preferences[0].detach()).flatten(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        (CARTPOLE, []),
        (CORRIDOR, []),
        (LAKE, ["environment.wrappers=[{name: sticky, probability: 0.25}]"]),
        (LAKE, ["environment.normalize_reward=true"]),
        (
            LAKE.replace("FrozenLake-v1", "Taxi-v3").replace("map_name: 4x4, is_slippery: false", ""),
            [],
        ),  # masks actions
    ],
    ids=["no table", "a table that is not seen", "a wrapper", "scaled rewards", "masked actions"],
)
def test_where_there_is_no_table_to_trust_there_is_none(tmp_path: Path, recipe: str, overrides: list[str]) -> None:
    assert expected_gradient(agent_of(tmp_path, recipe, *overrides)) is None
