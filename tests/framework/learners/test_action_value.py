"""Tables of action values against averages, sums and the oracles of dynamic programming.

Legend: N runs, S states, A actions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from framework import Environment, Rollout
from framework.dynamic_programming import action_values, state_values, value_iteration
from framework.episodes import play
from framework.errors import IncompatibleParts
from framework.learners.action_value import ActionValue
from framework.markov import FiniteMDP, from_gymnasium
from framework.position import Position
from framework.randomness import Keys
from framework.rollouts import Rollouts
from framework.schedule import Counters
from framework_plugins.policies.epsilon_greedy import EpsilonGreedy
from framework_plugins.policies.tabular_softmax import TabularSoftmax
from framework_plugins.policies.upper_confidence_bound import UpperConfidenceBound
from tests.framework.finite_processes import chain, random_process
from tests.framework.process_environment import registered

TARGETS = ("q_learning", "sarsa", "expected_sarsa")
SINGLE = {"rtol": 1e-5, "atol": 1e-5}  # float32, some hundreds of updates


def made(name: str, runs: int = 5, *, epsilon: float = 1.0, learner: dict[str, Any], **options: Any) -> ActionValue:
    environment = Environment(id=name, num_envs=runs, independent=runs > 1, **options)
    return ActionValue(environment=environment, policy=EpsilonGreedy(epsilon=epsilon), evaluation=None, **learner)


class Watched(ActionValue):
    """One that keeps what it has learned from."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rollouts: list[Rollout] = []
        self.planned_before: list[Tensor] = []

    def digest(self, rollout: Rollout) -> dict[str, Tensor]:
        self.rollouts.append(rollout)
        self.planned_before.append(self.planned.clone())
        return super().digest(rollout)


def watched(name: str, runs: int, *, learner: dict[str, Any], epsilon: float = 1.0, **options: Any) -> Watched:
    environment = Environment(id=name, num_envs=runs, independent=runs > 1, **options)
    return Watched(environment=environment, policy=EpsilonGreedy(epsilon=epsilon), evaluation=None, **learner)


def train(learner: ActionValue, steps: int, seed: int = 0) -> dict[str, Tensor]:
    """Take some steps as training does; return the last one's metrics."""
    experience, position = Rollouts(agent=learner, seed=seed), Position()
    metrics: dict[str, Tensor] = {}
    while position.counters.optimizer_steps < steps:
        for minibatch in experience.minibatches(position, lambda: False):
            step = position.counters.optimizer_steps
            (loss,) = learner.losses(minibatch, position.counters, Keys(seed, "train", step))
            metrics = dict(loss.metrics)
            progress = experience.after_step(position, metrics)
            assert progress.epoch_ends
            position.counters = progress.counters
            if progress.counters.optimizer_steps == steps:
                break
    return metrics


def taken(learner: Watched, run: int) -> list[tuple[int, int, float]]:
    """The decisions of a run: state, action, reward."""
    return [
        (int(rows.observation[0, run]), int(rows.action[0, run]), float(rows.reward[0, run]))
        for rows in learner.rollouts
        if rows.mask[0, run]
    ]


# Bandits -------------------------------------------------------------------------------------------------------------


def test_sample_averages_are_the_means_of_each_arms_rewards() -> None:
    learner = watched("fw/KArmedTestbed-v0", 4, learner={"discount": 0.0}, epsilon=0.3, kwargs={"arms": 5})
    train(learner, 400)
    for run in range(4):
        rewards = taken(learner, run)
        assert len(rewards) == 400
        for arm in range(5):
            mine = [reward for _, action, reward in rewards if action == arm]
            assert learner.counts[run, 0, arm] == len(mine) > 0
            assert float(learner.values[run, 0, arm]) == pytest.approx(np.mean(mine), rel=1e-5, abs=1e-5)


def test_a_constant_step_forgets_geometrically() -> None:
    options = {"discount": 0.0, "step_size": 0.1, "initial_value": 2.0}
    learner = watched("fw/KArmedTestbed-v0", 3, learner=options, kwargs={"arms": 4, "drift": 0.1})
    train(learner, 300)
    for run in range(3):
        for arm in range(4):
            mine = [reward for _, action, reward in taken(learner, run) if action == arm]
            weights = 0.1 * 0.9 ** np.arange(len(mine))[::-1]  # α(1 − α)^(n − i), equation 2.6
            expected = 0.9 ** len(mine) * 2.0 + float(weights @ np.array(mine))
            assert float(learner.values[run, 0, arm]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_optimistic_values_make_a_greedy_rule_try_everything() -> None:
    def first_actions(initial: float) -> list[list[int]]:
        options = {"discount": 0.0, "step_size": 0.1, "initial_value": initial}
        learner = watched("fw/KArmedTestbed-v0", 20, learner=options, epsilon=0.0)
        train(learner, 10)
        return [[action for _, action, _ in taken(learner, run)] for run in range(20)]

    assert all(sorted(actions) == list(range(10)) for actions in first_actions(50.0))
    assert not any(sorted(actions) == list(range(10)) for actions in first_actions(-50.0))


def test_its_metrics_are_means_over_the_runs_with_their_errors() -> None:
    learner = watched("fw/KArmedTestbed-v0", 50, learner={"discount": 0.0}, epsilon=0.1)
    metrics = train(learner, 30)
    last = learner.rollouts[-1]
    assert float(metrics["reward"]) == pytest.approx(float(last.reward.mean()), rel=1e-5)
    assert float(metrics["reward_standard_error"]) == pytest.approx(float(last.reward[0].std()) / 50**0.5, rel=1e-5)
    assert last.optimal is not None
    assert float(metrics["optimal"]) == pytest.approx(float(last.optimal.float().mean()), rel=1e-5)
    one = train(made("fw/KArmedTestbed-v0", 1, learner={"discount": 0.0}), 3)
    assert set(one) == {"td_error", "reward", "optimal"}, "one run alone has no standard error"
    assert all(value.isfinite() for value in one.values())


def test_another_rule_explores_by_the_counts() -> None:
    environment = Environment(id="fw/KArmedTestbed-v0", num_envs=3, independent=True)
    learner = ActionValue(environment=environment, policy=UpperConfidenceBound(c=2.0), evaluation=None, discount=0.0)
    train(learner, 10)
    assert (learner.counts == 1).all(), "each arm once, before any twice"


# Control -------------------------------------------------------------------------------------------------------------


def lake(discount: float) -> FiniteMDP:
    return from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False), discount=discount)


FIRM = {"kwargs": {"is_slippery": False}}


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
def test_q_learning_reaches_the_optimum_though_it_acts_at_random(autoreset: Any) -> None:
    # With nothing random in the environment a step size of 1 is right, and values are exact when they have spread.
    learner = made("FrozenLake-v1", 5, learner={"discount": 0.9, "step_size": 1.0}, autoreset=autoreset, **FIRM)
    train(learner, 4000)
    expected = action_values(lake(0.9), value_iteration(lake(0.9))).float()
    acted_in = learner.counts.sum((0, 2)) > 0
    assert acted_in.sum() == 11, "all but the holes and the goal"
    for run in range(5):
        known = learner.counts[run] > 10  # often, and so after what comes next was known
        assert known.sum() >= 30, "of 44 pairs"
        torch.testing.assert_close(learner.values[run][known], expected[known], **SINGLE)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "options", "best"),
    [("FrozenLake-v1", FIRM, (1.0, 6)), ("CliffWalking-v1", {}, (-13.0, 13))],
    ids=["lake", "cliff"],
)
def test_greedy_and_optimistic_all_find_the_shortest_way(
    name: str, options: dict[str, Any], best: tuple[float, int], target: str
) -> None:
    settings = {"discount": 0.9, "step_size": 1.0, "initial_value": 1.0, "target": target}
    learner = made(name, 3, epsilon=0.0, learner=settings, **options)
    train(learner, 2000)
    mdp = from_gymnasium(learner.environment.make_one(), discount=0.9)
    values = value_iteration(mdp)
    start = int(mdp.start.argmax())
    for run in range(3):
        assert float(learner.values[run, start].amax()) == pytest.approx(float(values[start]), abs=1e-5)
    assert play(learner, 3, seed=0, greedy=True) == [best] * 3


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[FiniteMDP, str]]:
    mdp = random_process(2, states=3, actions=2, discount=0.7, ends=0.3)
    with registered(mdp) as name:
        yield mdp, name


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_reaches_its_own_fixed_point(process: tuple[FiniteMDP, str], target: str) -> None:
    mdp, name = process
    learner = made(name, 20, learner={"discount": 0.7, "target": target, "step_size": 0.02})
    learner.double()
    train(learner, 2500)
    uniform = torch.full((3, 2), 0.5, dtype=torch.float64)
    of_the_best, of_the_actor = value_iteration(mdp), state_values(mdp, uniform)
    off_policy = target == "q_learning"
    expected = action_values(mdp, of_the_best if off_policy else of_the_actor)
    other = action_values(mdp, of_the_actor if off_policy else of_the_best)
    mean = learner.values.mean(0)
    # What is left is the noise of the last 1/α updates of each of 20 runs: about √(α/2/20) of a target's deviation.
    assert (mean - expected).abs().max() < 0.08
    assert (mean - other).abs().max() > 0.25


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
def test_sarsa_takes_the_action_that_it_learns_from(autoreset: Any) -> None:
    options = {"discount": 0.9, "step_size": 0.5, "target": "sarsa", "initial_value": 0.3}
    learner = watched("FrozenLake-v1", 3, learner=options, epsilon=0.6, autoreset=autoreset)
    train(learner, 300)
    planned = 0
    for rows, plan in zip(learner.rollouts, learner.planned_before, strict=True):
        is_planned = plan >= 0
        assert torch.equal(rows.action[0][is_planned], plan[is_planned])
        planned += int(is_planned.sum())
    assert planned > 500
    for run in range(3):
        table = np.full((16, 4), 0.3)
        steps = [rows for rows in learner.rollouts if rows.mask[0, run]]
        assert not any(rows.truncated[0, run] for rows in steps)
        for rows, following in itertools.pairwise(steps):
            state, action = int(rows.observation[0, run]), int(rows.action[0, run])
            after = int(following.observation[0, run]), int(following.action[0, run])
            target = float(rows.reward[0, run]) + (0.0 if rows.terminated[0, run] else 0.9 * table[after])
            table[state, action] += 0.5 * (target - table[state, action])
        last = int(steps[-1].observation[0, run]), int(steps[-1].action[0, run])
        difference = np.abs(learner.values[run].numpy() - table)
        difference[last] = 0.0  # its next action has not been taken yet
        assert difference.max() < 1e-5


def test_sarsas_plan_is_for_training_alone() -> None:
    options = {"discount": 0.9, "target": "sarsa"}
    learner = made("FrozenLake-v1", 1, epsilon=0.0, learner=options)
    learner.values[0, 5] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    learner.planned.fill_(3)
    state = torch.tensor([5])
    assert learner.act(state, None, greedy=False).tolist() == [2]
    assert learner.act(state, None, greedy=True).tolist() == [2]
    assert learner.explore(state, None).tolist() == [3]


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_truncated_goes_on_and_what_is_terminated_does_not(target: str, autoreset: Any) -> None:
    options = {"discount": 0.5, "step_size": 1.0, "target": target, "initial_value": 6.0}
    corridor = {"max_episode_steps": 1, "autoreset": autoreset, "kwargs": {"observe_state": True}}
    learner = made("fw/ShortCorridor-v0", 4, learner=options, **corridor)
    learner.values[:, 0] = -99.0  # where the next episode begins, which is not where this one went on to
    learner.values[:, 0, 0] = 6.0
    train(learner, 1)
    for run in range(4):
        action = int(learner.counts[run, 0].argmax())
        # Right leads to the second state, worth 6; left stays in the first, worth 6 or −99.
        if action == 1:
            assert float(learner.values[run, 0, 1]) == -1 + 0.5 * 6.0
    assert learner.counts[:, 0, 1].sum() > 0
    with registered(chain((2.0, None), discount=0.5)) as name:
        ended = made(name, 4, epsilon=0.0, learner={**options, "initial_value": 6.0}, autoreset=autoreset)
        ended.values[:, 0, 1] = -99.0
        train(ended, 1)
        assert ended.values[:, 0, 0].tolist() == [2.0] * 4


def test_the_dummies_of_autoreset_are_not_learned_from() -> None:
    with registered(chain((2.0, None), discount=0.5)) as name:
        learner = made(name, 3, learner={"discount": 0.5}, epsilon=0.0)
        learner.values[:, 0, 0] = 1.0
        train(learner, 10)  # between two of them all rest, which is no step
        assert learner.counts[:, 0, 0].tolist() == [10.0] * 3
        assert learner.values[:, 0, 0].tolist() == [2.0] * 3


def test_the_dummies_of_autoreset_are_in_no_metric(process: tuple[FiniteMDP, str]) -> None:
    learner = watched(process[1], 20, learner={"discount": 0.7}, autoreset="next_step")
    train(learner, 40)
    some = [rows for rows in learner.rollouts if not rows.mask.all()]
    assert len(some) > 20
    for rows in some:
        (loss,) = learner.losses(learner.digest(rows), Counters(), Keys(0, "train", 0))
        rewards = rows.reward[0].numpy()[rows.mask[0].numpy()].astype(np.float64)
        error = rewards.std(ddof=1) / len(rewards) ** 0.5
        assert float(loss.metrics["reward"]) == pytest.approx(rewards.mean(), rel=1e-5)
        assert float(loss.metrics["reward_standard_error"]) == pytest.approx(error, rel=1e-4)


def test_where_one_run_alone_does_not_rest_the_standard_error_is_0(process: tuple[FiniteMDP, str]) -> None:
    learner = watched(process[1], 3, learner={"discount": 0.7})
    train(learner, 1)
    (rows,) = learner.rollouts
    digest = learner.digest(replace(rows, mask=torch.tensor([[False, True, False]])))
    (loss,) = learner.losses(digest, Counters(), Keys(0, "train", 0))
    assert loss.metrics["reward"] == rows.reward[0, 1]
    assert loss.metrics["reward_standard_error"] == 0


class Narrowing(gymnasium.Env[int, int]):
    """At first only action 0 is allowed, later only action 1."""

    observation_space, action_space = gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = 0
        return 0, {"action_mask": np.array([1, 0], dtype=np.int8)}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.state += 1
        return self.state, 0.0, False, False, {"action_mask": np.array([0, 1], dtype=np.int8)}


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_truncated_episode_goes_on_with_what_is_allowed_there(target: str, autoreset: Any) -> None:
    gymnasium.register("test/Narrowing-v0", Narrowing, max_episode_steps=2)
    try:
        settings = {"discount": 0.5, "step_size": 1.0, "target": target}
        learner = made("test/Narrowing-v0", 2, epsilon=0.0, learner=settings, autoreset=autoreset)
        learner.values[:, 2] = torch.tensor([100.0, 7.0])
        train(learner, 2)
        assert learner.values[:, 1, 1].tolist() == [0.5 * 7.0] * 2
    finally:
        gymnasium.registry.pop("test/Narrowing-v0")


def test_sarsas_plan_goes_with_its_episode() -> None:
    learner = made("FrozenLake-v1", 2, learner={"discount": 0.9, "target": "sarsa"})
    train(learner, 1)
    assert (learner.planned >= 0).all()
    learner.begin_anew()
    observation, drawn = torch.zeros(2, dtype=torch.int64), set()
    for _ in range(100):
        drawn |= {tuple(learner.explore(observation, None).tolist())}
    assert len(drawn) == 16, "of 4 · 4 pairs; a plan would leave one"


def test_masked_actions_are_never_taken_nor_learned_from() -> None:
    learner = watched("Taxi-v3", 3, learner={"discount": 0.9, "initial_value": 0.0, "step_size": 1.0}, epsilon=1.0)
    train(learner, 100)
    for rows in learner.rollouts:
        assert rows.action_mask is not None
        assert rows.action_mask[0].gather(-1, rows.action[0][:, None])[rows.mask[0]].all()
    assert learner.values.isfinite().all()


# Parts that do not fit -----------------------------------------------------------------------------------------------


def misfits(environment: dict[str, Any], **options: Any) -> list[str]:
    policy = options.pop("policy", EpsilonGreedy(epsilon=0.1))
    options = {"evaluation": None, "discount": 0.9, **options}
    with pytest.raises(IncompatibleParts) as error:
        ActionValue(environment=Environment(**environment), policy=policy, **options)
    return [str(misfit) for misfit in error.value.misfits]


def test_misfits_are_named_with_what_to_write() -> None:
    lake: dict[str, Any] = {"id": "FrozenLake-v1"}
    (found,) = misfits({"id": "CartPole-v1"})
    assert found.startswith("environment.id: expected a discrete space: the learner is a table, found observations in")
    assert misfits({**lake, "num_envs": 3}) == [
        "environment.independent: expected true: each environment has a table of its own, found False; "
        "write independent: true"
    ]
    space = Environment(**lake)
    softmax = TabularSoftmax(observation_space=space.observation_space, action_space=space.action_space)
    assert misfits(lake, policy=softmax) == [
        "policy: expected a rule for exploring, such as epsilon_greedy, found tabular_softmax"
    ]
    assert misfits({**lake, "normalize_reward": True}) == [
        "environment.normalize_reward: expected false: the learner is a table of the rewards as they are, found true; "
        "write normalize_reward: false"
    ]
    assert misfits(lake, discount=1.1, step_size=0.0) == [
        "discount: expected a number in [0, 1], found 1.1",
        "step_size: expected a number in (0, 1], or null, found 0.0",
    ]
