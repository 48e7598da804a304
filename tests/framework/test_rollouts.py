"""Rollouts as experience: what is gone through, what is counted, and that judging and trying change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from framework import Environment, Rollout, episodes
from framework.agent import Agent, Evaluation
from framework.collector import Collector
from framework.environment import Environments
from framework.position import Position
from framework.randomness import Keys, key
from framework.rollouts import Rollouts, statistics
from framework.schedule import Counters
from framework.tape import Act
from tests.framework.agent_runs import RECIPES, assert_equal, prepared, records, run, without_pictures
from tests.framework.small_runs import WALK


def agent(folder: Path, name: str, *overrides: str) -> Agent:
    found = prepared(folder, RECIPES[name], *overrides).built.learner
    assert isinstance(found, Agent)
    return found


def steps(
    rollouts: Rollouts, count: int, position: Position | None = None, stopping: Callable[[], bool] = lambda: False
) -> tuple[list[dict[str, Tensor]], Position]:
    """Go through some minibatches without learning from them, but for what is kept of whole rollouts."""
    position, found = position or Position(), []
    while len(found) < count:
        before = len(found)
        for minibatch in rollouts.minibatches(position, stopping):
            found.append(minibatch)
            metrics = {"kl": torch.tensor(0.0), "penalty": torch.tensor(0.001)}
            progress = rollouts.after_step(position, metrics)
            position.counters = progress.counters
            position.step_in_epoch = 0 if progress.epoch_ends else position.step_in_epoch + 1
            if len(found) == count:
                break
        if len(found) == before:
            break
    return found, position


def identities(minibatch: dict[str, Tensor]) -> list[bytes]:
    """The observations of a minibatch's rows, no two of which are alike."""
    return [row.numpy().tobytes() for row in minibatch["observation"]]


def test_each_pass_goes_through_all_decisions_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    # 10 steps an episode at most: some rows are dummies.
    rollouts = Rollouts(agent=agent(tmp_path, "ppo", "environment.max_episode_steps=10"), seed=0)
    found, position = steps(rollouts, 6)
    assert (position.counters.epoch, position.step_in_epoch) == (1, 0)
    passes = [found[2 * number : 2 * number + 2] for number in range(3)]
    rows = [identities(parts[0]) + identities(parts[1]) for parts in passes]
    mask = rollouts._digest["mask"]
    assert not mask.all()
    assert len(rows[0]) == len(set(rows[0])) == int(mask.sum())
    assert sorted(rows[0]) == sorted(rows[1]) == sorted(rows[2])
    assert rows[0] != rows[1] != rows[2]
    for parts in passes:
        assert abs(len(parts[0]["action"]) - len(parts[1]["action"])) <= 1


def test_one_minibatch_is_the_rollout_in_order(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "a2c"), seed=0)
    (first, second), _ = steps(rollouts, 2)
    assert first["time"].flatten().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert second["time"].flatten()[:3].tolist() == [5, 5, 5], "it goes on where the last one stopped"


def test_whole_episodes_begin_anew_each_time(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "reinforce"), seed=0)
    (first, second), position = steps(rollouts, 2)
    assert (first["time"][0] == 0).all()
    assert (second["time"][0] == 0).all()
    assert not torch.equal(first["observation"][0], second["observation"][0])
    assert position.counters.episodes == 6
    assert position.counters.env_steps == int(first["mask"].sum() + second["mask"].sum())


def test_a_rollout_counts_from_its_first_step_on(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "ppo"), seed=0)
    counters = []
    position = Position()
    for _ in range(8):
        _, position = steps(rollouts, 1, position)
        counters.append((position.counters.env_steps, position.counters.epoch))
    one = counters[0][0]
    assert 40 < one <= 48
    assert counters[:6] == [(one, 0)] * 5 + [(one, 1)]
    assert counters[6][0] == counters[7][0] > one
    assert rollouts.amount(position.counters) == counters[7][0]
    assert rollouts.axes(position.counters) == {
        "step": 8,
        "env_steps": counters[7][0],
        "episodes": position.counters.episodes,
    }


def test_no_rollout_is_begun_where_the_caller_is_stopping(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "ppo"), seed=0)
    assert steps(rollouts, 3, stopping=lambda: True)[0] == []
    _, position = steps(rollouts, 4)
    rest, position = steps(rollouts, 9, position, stopping=lambda: True)  # what was collected is gone through
    assert len(rest) == 2
    assert position.step_in_epoch == 0


@pytest.mark.parametrize("name", ["reinforce", "a2c", "ppo"])
def test_whole_episodes_are_given_up_amid_and_begin_again_and_others_are_not(tmp_path: Path, name: str) -> None:
    expected, _ = steps(Rollouts(agent=agent(tmp_path, name), seed=0), 8)
    rollouts = Rollouts(agent=agent(tmp_path, name), seed=0)
    first, position = steps(rollouts, 6)
    held = copy.deepcopy(position)
    asked = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) == 3

    more, position = steps(rollouts, 1, position, stopping)
    assert (len(more), len(asked)) == ((0, 3) if name == "reinforce" else (1, 1))
    assert name != "reinforce" or position == held
    assert rollouts.agent.training
    rest, _ = steps(rollouts, 2 - len(more), position)
    assert_equal(first + more + rest, expected, "minibatches")


def test_a_divergence_that_is_too_large_ends_the_passes(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "ppo"), seed=0)
    position = Position()
    ends = []
    for kl in (0.04, 0.08, 0.03, 0.03):  # means 0.06, above 0.05, and the next rollout's 0.03
        next(iter(rollouts.minibatches(position, lambda: False)))
        progress = rollouts.after_step(position, {"kl": torch.tensor(kl), "penalty": torch.tensor(0.0)})
        position.counters = progress.counters
        position.step_in_epoch = 0 if progress.epoch_ends else position.step_in_epoch + 1
        ends.append(progress.epoch_ends)
    assert ends == [False, True, False, False]


@pytest.mark.parametrize("every", [1, 40, 100, 1000])
def test_evaluations_are_due_at_the_end_of_rollouts_that_pass_their_multiples(tmp_path: Path, every: int) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "a2c", f"evaluation.every={every}"), seed=0)
    position, before = Position(), 0
    due = 0
    for _ in range(80):
        next(iter(rollouts.minibatches(position, lambda: False)))
        progress = rollouts.after_step(position, {})
        position.counters = progress.counters
        now = progress.counters.env_steps
        assert progress.validates == any(step % every == 0 for step in range(before + 1, now + 1))
        due, before = due + progress.validates, now
    assert due == {1: 80, 40: before // 40, 100: before // 100, 1000: before // 1000}[every] > 0


def test_no_evaluation_is_due_where_none_is_asked_for(tmp_path: Path) -> None:
    for override in ("evaluation=null", "evaluation.every=null"):
        rollouts = Rollouts(agent=agent(tmp_path, "a2c", override), seed=0)
        position = Position()
        for _ in range(40):
            next(iter(rollouts.minibatches(position, lambda: False)))
            progress = rollouts.after_step(position, {})
            position.counters = progress.counters
            assert not progress.validates
    assert Rollouts(agent=agent(tmp_path, "a2c", "evaluation=null"), seed=0).evaluate("test", Counters()) == {}


@pytest.mark.parametrize("name", RECIPES)
def test_trying_an_agent_out_leaves_it_as_it_was(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = agent(tmp_path, name)
    rollouts = Rollouts(agent=learner, seed=0)
    before = copy.deepcopy(dict(learner.state_dict()))
    closed: list[bool] = []
    make = Environment.make

    def watched(*given: Any) -> Environments:
        environments = make(*given)
        monkeypatch.setattr(environments, "close", lambda: closed.append(True))
        return environments

    monkeypatch.setattr(Environment, "make", watched)
    rollouts.try_out()
    assert_equal(dict(learner.state_dict()), before, "learner")
    assert closed == [True]
    assert rollouts.news() == {}


@pytest.mark.parametrize("name", RECIPES)
def test_judging_an_agent_leaves_it_and_its_training_as_they_were(tmp_path: Path, name: str) -> None:
    found = []
    for judged in (False, True):
        learner = agent(tmp_path, name)
        rollouts, position = Rollouts(agent=learner, seed=0), Position()
        for number in range(6):
            for minibatch in rollouts.minibatches(position, lambda: False):
                for _ in learner.losses(minibatch, position.counters, Keys(0, "train", number)):
                    pass
                metrics = {"kl": torch.tensor(0.0), "penalty": torch.tensor(0.001)}
                progress = rollouts.after_step(position, metrics)
                position.counters = progress.counters
                position.step_in_epoch = 0 if progress.epoch_ends else position.step_in_epoch + 1
                break
            if judged:
                before = copy.deepcopy(dict(learner.state_dict()))
                assert rollouts.evaluate("evaluation", position.counters)["length"] >= 1
                assert_equal(dict(learner.state_dict()), before, "learner")
        found.append((dict(learner.state_dict()), rollouts._digest, position.counters, rollouts.news()))
    assert_equal(found[1][0], found[0][0], "learner")
    assert_equal(found[1][1], found[0][1], "digest")
    assert found[1][2:] == found[0][2:]


def test_an_evaluation_repeats_itself_and_the_test_is_another(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "reinforce", "evaluation.greedy=false"), seed=0)
    first, again = (rollouts.evaluate("evaluation", Counters()) for _ in range(2))
    assert first == again
    assert rollouts.evaluate("test", Counters()) != first
    assert set(first) == {"return", "length", "return_standard_error"}
    assert rollouts.cost(first) == -first["return"]


def test_an_evaluation_is_given_up_at_the_next_step(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "reinforce"), seed=0)
    asked = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) == 4

    assert rollouts.evaluate("test", Counters(), stopping) is None
    assert len(asked) == 4
    assert rollouts.agent.training
    assert rollouts.evaluate("test", Counters(), lambda: False) == rollouts.evaluate("test", Counters())


def test_the_share_of_cut_episodes_is_said_and_a_limit_of_ones_own_is_no_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert episodes.LONGEST == 10_000

    def rollouts_of(*overrides: str) -> Rollouts:
        built = prepared(tmp_path, WALK, "evaluation={episodes: 4, greedy: false}", *overrides).built.learner
        assert isinstance(built, Agent)
        return Rollouts(agent=built, seed=0)

    rollouts = rollouts_of()
    whole = rollouts.evaluate("test", Counters())
    assert whole is not None
    assert "cut" not in whole
    played = episodes.play(rollouts.agent, 4, seed=key(0, "test", 0), greedy=False)
    assert played is not None
    lengths = sorted(length for _, length in played)
    monkeypatch.setattr(episodes, "LONGEST", lengths[1] + 1)
    cut = rollouts.evaluate("test", Counters())
    assert cut is not None
    assert cut["cut"] == 0.5
    assert cut["length"] == (lengths[0] + 3 * lengths[1] + 2) / 4
    assert rollouts_of("environment.max_episode_steps=20000").evaluate("test", Counters()) == whole


def test_statistics_are_means_with_a_standard_error() -> None:
    assert statistics([]) == {}
    assert statistics([(3.0, 7)]) == {"return": 3.0, "length": 7.0}
    found = statistics([(1.0, 2), (2.0, 4), (6.0, 6)])
    assert found["return"] == 3.0
    assert found["length"] == 4.0
    assert found["return_standard_error"] == pytest.approx((7.0 / 3) ** 0.5)  # the variance is (4 + 1 + 9)/2


def test_the_news_are_those_of_the_episodes_that_ended_since(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "a2c"), seed=0)
    _, position = steps(rollouts, 20)
    news = rollouts.news()
    assert 5 < news["length"] <= 30
    assert news["return"] == news["length"], "1 for each step"
    assert rollouts.news() == {}
    assert rollouts.unit == "env_steps"
    assert position.counters.episodes > 1


RESTING = ("environment.max_episode_steps=1",)  # every other step of all environments is none


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *((name, ()) for name in ("a2c", "ppo", "reinforce", "sarsa")),
        ("a2c", (*RESTING, "update.steps=1")),
        ("ppo", (*RESTING, "update.steps=2", "update.minibatches=5")),
        ("sarsa", RESTING),
    ],
)
def test_a_state_goes_on_elsewhere(tmp_path: Path, name: str, overrides: tuple[str, ...]) -> None:
    learner = agent(tmp_path, name, *overrides)
    rollouts = Rollouts(agent=learner, seed=0)
    _, position = steps(rollouts, 9)
    state, there, held = rollouts.state(), copy.deepcopy(position), copy.deepcopy(dict(learner.state_dict()))
    expected, _ = steps(rollouts, 7, position)
    elsewhere = agent(tmp_path, name, *overrides)
    elsewhere.load_state_dict(held)
    other = Rollouts(agent=elsewhere, seed=0)
    other.restore(state)
    found, _ = steps(other, 7, there)
    assert_equal(found, expected, "minibatches")
    assert_equal(other.news(), rollouts.news(), "news")


def test_what_is_asked_of_an_evaluation_is_in_range() -> None:
    options: dict[str, Any] = {"episodes": 5, "every": 10}
    assert Evaluation(**options).episodes == 5
    for option in options:
        with pytest.raises(ValueError, match=f"{option}: expected 1 or more, found 0"):
            Evaluation(**{**options, option: 0})


def test_where_all_environments_rest_there_is_no_rollout(tmp_path: Path) -> None:
    overrides = ("environment.max_episode_steps=1", "update.steps=1")  # every other step is none
    rollouts = Rollouts(agent=agent(tmp_path, "a2c", *overrides), seed=0)
    found, position = steps(rollouts, 6)
    assert [len(minibatch["action"]) for minibatch in found] == [3] * 6
    assert (position.counters.env_steps, position.counters.episodes, position.counters.epoch) == (18, 18, 6)
    assert len(rollouts._collector.episodes) == 18


def test_no_minibatch_is_empty(tmp_path: Path) -> None:
    overrides = ("environment.max_episode_steps=1", "update.steps=2", "update.minibatches=6")
    rollouts = Rollouts(agent=agent(tmp_path, "ppo", *overrides), seed=0)
    found, position = steps(rollouts, 18)  # 3 decisions of 6 steps, 3 passes
    assert [len(minibatch["action"]) for minibatch in found] == [1] * 18
    assert (position.counters.epoch, position.step_in_epoch, position.counters.env_steps) == (2, 0, 6)


def test_a_step_weighs_what_its_rollout_has_of_decisions(tmp_path: Path) -> None:
    rollouts = Rollouts(agent=agent(tmp_path, "a2c", "environment.max_episode_steps=3"), seed=0)
    position, weights = Position(), []
    for _ in range(8):
        minibatch = next(iter(rollouts.minibatches(position, lambda: False)))
        progress = rollouts.after_step(position, {})
        assert progress.weight == len(minibatch["action"]) / 15
        weights.append(progress.weight)
        position.counters = progress.counters
    assert min(weights) < max(weights) <= 1
    whole = Rollouts(agent=agent(tmp_path, "reinforce"), seed=0)
    next(iter(whole.minibatches(Position(), lambda: False)))
    assert whole.after_step(Position(), {}).weight == 1


def test_recorded_metrics_are_means_over_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    collected: list[Rollout] = []
    collect = Collector.collect

    def watched(self: Collector, act: Act, steps: int) -> Rollout:
        rollout = collect(self, act, steps)
        if self.stream == "environment":
            collected.append(rollout)
        return rollout

    monkeypatch.setattr(Collector, "collect", watched)
    overrides = ("environment.num_envs=12", "environment.kwargs.is_slippery=false", "policy.epsilon=1.0")
    limits = ("trainer.max_steps=300", "trainer.log_every=300", "evaluation=null")
    directory = run(tmp_path, RECIPES["q_learning"], *overrides, *limits).directory
    assert directory is not None
    (record,) = records(directory, "train")
    rewards = torch.cat([rollout.reward[rollout.mask] for rollout in collected])
    assert 300 < len(rewards) == record["env_steps"] < 3600
    assert float(rewards.sum()) > 3
    assert record["train/reward"] == pytest.approx(float(rewards.double().mean()), rel=1e-5)


def test_what_cannot_be_restored_takes_nothing_of_the_lost_episodes_along(tmp_path: Path) -> None:
    learner = agent(tmp_path, "sarsa")
    rollouts = Rollouts(agent=learner, seed=0)
    rollouts.restorable = False
    steps(rollouts, 1)
    planned: Any = learner.planned
    assert (planned >= 0).any()
    rollouts.restore(rollouts.state())
    assert (planned == -1).all()
