"""The exact learner, against the oracle of `framework.dynamic_programming`."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch

from framework import Environment
from framework.agent import Evaluation
from framework.dynamic_programming import action_values, state_values, value_iteration
from framework.episodes import play
from framework.errors import IncompatibleParts
from framework.learners.value_iteration import ValueIteration
from framework.markov import from_gymnasium
from framework.randomness import Keys
from framework.schedule import Counters


def made(name: str = "FrozenLake-v1", discount: float = 0.95, **options: Any) -> ValueIteration:
    return ValueIteration(environment=Environment(id=name, **options), evaluation=None, discount=discount)


def sweep(learner: ValueIteration, count: int) -> list[dict[str, float]]:
    metrics = []
    for step in range(count):
        (loss,) = learner.losses({}, Counters(optimizer_steps=step), Keys(0, "train", step))
        assert loss.value is None
        metrics.append({name: float(value) for name, value in loss.metrics.items()})
    return metrics


@pytest.mark.parametrize("name", ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v3"])
def test_the_sweeps_reach_the_optimal_values(name: str) -> None:
    learner = made(name)
    metrics = sweep(learner, 500)  # 0.95^500 = 7e-12, times the largest value, about 20
    expected = value_iteration(from_gymnasium(gymnasium.make(name), discount=0.95))
    torch.testing.assert_close(learner.values, expected, rtol=0, atol=1e-9)
    assert metrics[-1]["residual"] < 1e-9
    assert metrics[0]["residual"] > 0.01
    assert metrics[-1]["value"] == pytest.approx(float(learner.mdp.start @ expected), abs=1e-9)


def test_one_sweep_is_one_backup_of_all_states() -> None:
    learner = made()
    for _ in range(3):
        before = learner.values.clone()
        backup = (learner.mdp.rewards + 0.95 * torch.einsum("sat,t->sa", learner.mdp.transitions, before)).amax(-1)
        (metrics,) = sweep(learner, 1)
        torch.testing.assert_close(learner.values, backup, rtol=1e-14, atol=0)
        assert metrics["residual"] == pytest.approx(float((backup - before).abs().max()), rel=1e-12)


def test_its_greedy_policy_earns_what_it_is_worth() -> None:
    learner = made(discount=0.99, max_episode_steps=2000)
    sweep(learner, 2000)
    best = action_values(learner.mdp, learner.values).argmax(-1)
    policy = torch.nn.functional.one_hot(best, 4).double()
    undiscounted = from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=1.0)
    expected = float(undiscounted.start @ state_values(undiscounted, policy))
    assert expected > 0.8
    returns = torch.tensor([total for total, _ in play(learner, 400, seed=0, greedy=True)])
    assert set(returns.tolist()) == {0.0, 1.0}
    assert abs(float(returns.mean()) - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def test_it_acts_by_its_values_and_by_nothing_else() -> None:
    learner = made()
    sweep(learner, 100)
    states = torch.arange(16)
    greedy = learner.act(states, None, greedy=True)
    assert torch.equal(greedy, action_values(learner.mdp, learner.values).argmax(-1))
    assert torch.equal(learner.act(states, None, greedy=False), greedy)
    assert learner.optimizers() == {}


def misfit(environment: Environment, discount: float = 0.9, evaluation: Evaluation | None = None) -> str:
    with pytest.raises(IncompatibleParts) as error:
        ValueIteration(environment=environment, evaluation=evaluation, discount=discount)
    return str(error.value)


def test_what_it_cannot_learn_from_is_refused() -> None:
    assert misfit(Environment(id="CartPole-v1")).startswith(
        "environment.id: expected an environment with a table of transitions in env.unwrapped.P, found "
    )
    lake = Environment(id="FrozenLake-v1")
    assert misfit(lake, discount=1.5) == "discount: expected a number in [0, 1], found 1.5"
    assert misfit(lake, evaluation=Evaluation(every=5)) == (
        "evaluation.every: expected null: the learner takes no steps in its environment before it is judged at the "
        "end, found 5"
    )
    assert misfit(Environment(id="FrozenLake-v1", normalize_reward=True)) == (
        "environment.normalize_reward: expected false: the learner knows the rewards as they are, found true"
    )
