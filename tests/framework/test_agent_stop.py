"""What may take for ever is stopped at the next step, and a run that was stopped there goes on to the bit."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.signals import STOPPED
from tests.framework.agent_runs import (
    RECIPES,
    assert_same_run,
    records,
    run,
    run_in,
    state_of,
    without_pictures,
    written,
)
from tests.framework.interruption import begin, on_call, quiet, start, wait_for

# Left in the second of three states, right in the others: the first and the second are gone between for ever.
ENDLESS = """
name: small
learner: policy_gradient
environment: {id: fw/ShortCorridor-v0, num_envs: 2, max_episode_steps: 100000000}
policy: {name: tabular_softmax, preferences: [-30.0, 30.0]}
update: reinforce
discount: 1.0
optimizer: {name: sgd, lr: 0.01}
evaluation: null
trainer: {max_steps: 3, accelerator: cpu}
"""
CLIFF = """
name: small
learner: action_value
environment: {id: CliffWalking-v1, max_episode_steps: 100000000}
policy: {name: epsilon_greedy, epsilon: 1.0}
discount: 1.0
step_size: 0.5
evaluation: {episodes: 100}
trainer: {max_steps: 10, accelerator: cpu}
"""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of whole episodes from start to end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        without_pictures(patch)
        directory = run(tmp_path_factory.mktemp("unbroken"), RECIPES["reinforce"]).directory
    assert directory is not None
    return directory


def command(folder: Path, arguments: list[str], owner: str | None, name: str, call: int) -> None:
    """The command line itself, in a process of its own that gets SIGTERM at the n-th call of a function."""
    from framework import cli, episodes
    from framework.tape import Tape

    quiet()
    os.chdir(folder)
    os.dup2(os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    if owner is not None:
        owners: dict[str, Any] = {"episodes": episodes, "Tape": Tape}
        on_call(owners[owner], name, call, lambda: os.kill(os.getpid(), signal.SIGTERM))
    sys.argv = ["fw", *arguments]
    cli.main()


RUN = ["run", "recipe.yaml", "--out", "."]


@pytest.mark.parametrize("call", [5, 120, 333])  # steps: amid the first rollout and amid others
def test_whole_episodes_that_are_stopped_are_repeated_to_the_bit(unbroken: Path, tmp_path: Path, call: int) -> None:
    written(tmp_path, RECIPES["reinforce"])
    assert start(command, tmp_path, RUN, "Tape", "step", call) == STOPPED
    directory = run_in(tmp_path)
    if call > 5:
        state = state_of(directory)
        assert state["position"]["step_in_epoch"] == 0
        assert state["experience"]["digest"] == {}, "it was stopped amid a rollout"
    assert start(command, tmp_path, ["resume", str(directory)], None, "", 0) == 0
    assert_same_run(directory, unbroken)


def test_an_evaluation_that_is_stopped_is_repeated_to_the_bit(unbroken: Path, tmp_path: Path) -> None:
    number = len(records(unbroken, "evaluation"))
    assert number > 1
    # `preparation` is called where a round of episodes begins.
    for evaluation in (1, 2, number):
        folder = tmp_path / str(evaluation)
        written(folder, RECIPES["reinforce"])
        assert start(command, folder, RUN, "episodes", "preparation", evaluation) == STOPPED
        directory = run_in(folder)
        assert state_of(directory)["position"]["is_unjudged"]
        assert len(records(directory, "evaluation")) == evaluation - 1
        assert not (directory / "summary.json").exists()
        assert start(command, folder, ["resume", str(directory)], None, "", 0) == 0
        assert_same_run(directory, unbroken)


def test_a_test_that_is_stopped_is_repeated_to_the_bit(unbroken: Path, tmp_path: Path) -> None:
    written(tmp_path, RECIPES["reinforce"])
    call = len(records(unbroken, "evaluation")) + 1
    assert start(command, tmp_path, RUN, "episodes", "preparation", call) == STOPPED
    directory = run_in(tmp_path)
    assert not (directory / "summary.json").exists()
    assert start(command, tmp_path, ["resume", str(directory)], None, "", 0) == 0
    assert_same_run(directory, unbroken)


@pytest.mark.parametrize("recipe", [ENDLESS, CLIFF], ids=["collecting", "evaluating"])
def test_what_has_no_end_is_stopped_from_outside(tmp_path: Path, recipe: str) -> None:
    written(tmp_path, recipe)
    process = begin(command, tmp_path, RUN, None, "", 0)
    until = time.monotonic() + 50
    while not list(tmp_path.glob("small/*/log.txt")):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1.5)  # from the first line of the log to the rollout, or to the evaluation
    assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGTERM)
    assert wait_for(process) == STOPPED
    assert "stopped by SIGTERM; go on with: fw resume" in (run_in(tmp_path) / "log.txt").read_text()


def test_the_time_ends_a_rollout_that_has_no_end(tmp_path: Path) -> None:
    judged = ENDLESS.replace("evaluation: null", "evaluation: {episodes: 1, greedy: false}")
    judged = judged.replace("100000000", "5000")
    outcome = run(tmp_path, judged, "trainer={max_time: 0.0001, accelerator: cpu}")
    assert outcome.summary is not None, "it was not stopped, it has ended"
    assert outcome.summary["env_steps"] == 0, "5,000 steps take longer than 6 ms"
    assert outcome.summary["evaluation/length"] == outcome.summary["test/length"] == 5000
    assert outcome.directory is not None
    assert [each["split"] for each in records(outcome.directory)] == ["evaluation", "test"]
    assert json.loads((outcome.directory / "summary.json").read_text())["training_seconds"] < 5
    assert all(torch.isfinite(value).all() for value in state_of(outcome.directory)["learner"].values())
