"""An agent that is stopped or killed and resumed is the unbroken one, to the bit: tables, networks, environments."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.collector import Collector
from framework.rollout import Rollout
from tests.framework import agent_runs
from tests.framework.agent_runs import (
    RECIPES,
    assert_same_run,
    prepared,
    records,
    resume,
    run,
    run_in,
    state_of,
    stopped_after,
    without_pictures,
    written,
)
from tests.framework.interruption import console, go_on, kill_on_call, quiet, start

# Optimiser steps after which each is stopped. PPO takes 6 for a rollout: 3 and 8 are amid its passes, 12 between two
# rollouts; all have not been evaluated before 1.
MOMENTS = [
    (name, step)
    for name, steps in {
        "reinforce": (1, 7),
        "a2c": (1, 13),
        "ppo": (1, 3, 8, 12, 24),
        "q_learning": (1, 17),
        "sarsa": (1, 17, 23),
        "value_iteration": (1, 8),
    }.items()
    for step in steps
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run from start to end of each recipe."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        without_pictures(patch)
        for name, text in RECIPES.items():
            directory = run(tmp_path_factory.mktemp(name), text).directory
            assert directory is not None
            found[name] = directory
    return found


def test_all_recipes_are_stopped() -> None:
    assert {name for name, _ in MOMENTS} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_the_unbroken_run_learns_and_is_evaluated_on_the_way(unbroken: dict[str, Path], name: str) -> None:
    evaluations, training = (records(unbroken[name], split) for split in ("evaluation", "train"))
    assert len(evaluations) == 1 if name == "value_iteration" else len(evaluations) > 2
    assert len(training) > 7
    states = [state_of(unbroken[name], which)["learner"] for which in ("last.ckpt", "best.ckpt")]
    assert all(torch.isfinite(value).all() for value in states[0].values())


@pytest.mark.parametrize(("name", "step"), MOMENTS)
def test_a_run_that_is_stopped_goes_on_to_the_bit(
    unbroken: dict[str, Path], tmp_path: Path, name: str, step: int
) -> None:
    directory = stopped_after(step, lambda: run(tmp_path, RECIPES[name]))
    position = state_of(directory)["position"]
    # It ends between two rollouts, or after the step that is next.
    assert position["counters"]["optimizer_steps"] == step + (position["step_in_epoch"] > 0)
    resume(directory)
    assert_same_run(directory, unbroken[name])


def test_the_moments_are_amid_passes_and_between_rollouts(tmp_path: Path) -> None:
    found = []
    for step in (3, 8, 12):
        directory = stopped_after(step, lambda step=step: run(tmp_path / str(step), RECIPES["ppo"]))
        found.append(state_of(directory)["position"]["step_in_epoch"])
    assert found == [4, 3, 0]


def test_a_run_that_is_stopped_again_and_again_goes_on_to_the_bit(unbroken: dict[str, Path], tmp_path: Path) -> None:
    directory = stopped_after(2, lambda: run(tmp_path, RECIPES["ppo"]))
    for step in (4, 5, 1):
        stopped_after(step, lambda: resume(directory))
    resume(directory)
    assert_same_run(directory, unbroken["ppo"])


def test_a_limit_amid_the_passes_is_no_break(unbroken: dict[str, Path], tmp_path: Path) -> None:
    # Not the bit of the records, for each end is evaluated; but of all that was learned.
    directory = run(tmp_path, RECIPES["ppo"], "trainer.max_steps=8").directory
    assert directory is not None
    resume(directory, "trainer.max_steps=30")
    agent_runs.assert_equal(state_of(directory)["learner"], state_of(unbroken["ppo"])["learner"], "learner")


def killed(recipe: Path, root: Path, step: int) -> None:
    """`fw run`, killed when this step is over and nothing has been written of it."""
    from framework import run as running
    from framework.module import Module
    from framework.prepare import prepare

    quiet()
    kill_on_call(Module, "_after_step", step)
    running.run(prepare(recipe, [], [], root), root, console())


# A checkpoint is written every 5 steps: before the first, and after others.
@pytest.mark.parametrize(("name", "step"), [(name, step) for name in RECIPES for step in (3, 22)])
def test_a_run_that_is_killed_goes_on_to_the_bit(
    unbroken: dict[str, Path], tmp_path: Path, name: str, step: int
) -> None:
    assert start(killed, written(tmp_path, RECIPES[name]), tmp_path, step) == -signal.SIGKILL
    directory = run_in(tmp_path)
    assert not (directory / "summary.json").exists()
    assert start(go_on, directory, []) == 0
    assert_same_run(directory, unbroken[name])


def command(folder: Path, arguments: list[str], killed_at: int | None) -> None:
    """The command line itself, in a process of its own."""
    import sys

    from framework import cli
    from framework.module import Module

    quiet()
    os.chdir(folder)
    os.dup2(os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    if killed_at is not None:
        kill_on_call(Module, "_after_step", killed_at)
    sys.argv = ["fw", *arguments]
    cli.app(standalone_mode=False)


def test_the_command_line_resumes_what_was_killed(unbroken: dict[str, Path], tmp_path: Path) -> None:
    written(tmp_path, RECIPES["ppo"])
    assert start(command, tmp_path, ["run", "recipe.yaml", "--out", "."], 14) == -signal.SIGKILL
    directory = run_in(tmp_path)
    assert state_of(directory)["position"]["counters"]["optimizer_steps"] == 12  # it was evaluated
    assert start(command, tmp_path, ["resume", str(directory)], None) == 0
    assert_same_run(directory, unbroken["ppo"])


# An environment whose state cannot be written down ------------------------------------------------------------------

WALK = """
import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.course = self.places()  # a generator: where it stands is nowhere but in its frame
        return next(self.course), {}

    def places(self):
        place = self.np_random.standard_normal(1)
        while True:
            yield place
            place = place + self.np_random.standard_normal(1)

    def step(self, action):
        return next(self.course), float(action), False, False, {}


if "test/Walk-v0" not in gymnasium.registry:
    gymnasium.register("test/Walk-v0", Walk, max_episode_steps=50)
"""
NOTE = (
    "the state of these environments cannot be saved: a run that is resumed begins new episodes in them, and goes on "
    "with other ones than an unbroken run would have"
)


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    path = tmp_path / "walk.py"
    path.write_text(WALK)
    return path


def collected(monkeypatch: pytest.MonkeyPatch) -> list[Rollout]:
    """The rollouts that are collected from now on."""
    found: list[Rollout] = []
    collect = Collector.collect

    def kept(self: Collector, act: Any, steps: int) -> Rollout:
        rollout = collect(self, act, steps)
        if self.stream == "environment":
            found.append(rollout)
        return rollout

    monkeypatch.setattr(Collector, "collect", kept)
    return found


WALKS = ["environment={id: test/Walk-v0, num_envs: 2}", "update={name: a2c, steps: 8}", "evaluation=null"]


def test_what_cannot_be_restored_is_said_at_the_start(tmp_path: Path, walk: Path) -> None:
    assert NOTE in prepared(tmp_path, RECIPES["a2c"], *WALKS, plugins=[walk]).notes
    directory = run(tmp_path, RECIPES["a2c"], *WALKS, "trainer.max_steps=1", plugins=[walk]).directory
    assert directory is not None
    assert NOTE in json.loads((directory / "environment.json").read_text())["notes"]
    whole = [*WALKS, "update=reinforce", "trace=1"]  # each rollout begins anew anyway
    assert NOTE not in prepared(tmp_path, RECIPES["a2c"], *whole, plugins=[walk]).notes
    assert NOTE not in prepared(tmp_path, RECIPES["a2c"]).notes


def test_what_cannot_be_restored_goes_on_with_new_episodes(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = collected(monkeypatch)
    directory = stopped_after(4, lambda: run(tmp_path, RECIPES["a2c"], *WALKS, plugins=[walk]))
    first = list(rollouts)
    assert [int(rollout.time[0, 0]) for rollout in first] == [0, 8, 16, 24]
    begun = [first[0].observation[0]]
    for step in (3, 2):
        rollouts.clear()
        stopped_after(step, lambda: resume(directory))
        assert [int(rollout.time[0, 0]) for rollout in rollouts] == [0, 8, 16][:step]
        for before in begun:
            assert not torch.isin(rollouts[0].observation[0], before).any()
        begun.append(rollouts[0].observation[0])
    assert resume(directory).summary is not None


HARDER = """
import gymnasium

from framework import register_wrapper


class Harder(gymnasium.Wrapper):
    def __init__(self, environment):
        super().__init__(environment)
        self.level = 0

    def reset(self, **options):
        self.level += 1
        return super().reset(**options)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward * self.level, *rest


@register_wrapper("harder")
def harder(environment: gymnasium.Env) -> gymnasium.Wrapper:
    \"\"\"Pays more for each episode.\"\"\"
    return Harder(environment)
"""


def test_episodes_that_depend_on_those_before_are_said_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "harder.py"
    path.write_text(HARDER)
    wrapped = "environment.wrappers=[{name: harder}]"
    assert NOTE in prepared(tmp_path, RECIPES["reinforce"], wrapped, plugins=[path]).notes
    assert NOTE not in prepared(tmp_path, RECIPES["a2c"], wrapped, plugins=[path]).notes  # they are captured there


def test_whole_episodes_need_no_state(tmp_path: Path, walk: Path) -> None:
    whole = [*WALKS, "update=reinforce", "trace=1", "trainer.max_steps=6"]
    unbroken = run(tmp_path / "unbroken", RECIPES["a2c"], *whole, plugins=[walk]).directory
    directory = stopped_after(3, lambda: run(tmp_path, RECIPES["a2c"], *whole, plugins=[walk]))
    resume(directory)
    assert unbroken is not None
    assert_same_run(directory, unbroken)
