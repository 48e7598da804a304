"""Small runs of agents, stopped and resumed in this process, and what two runs must have in common to the bit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from framework import checkpoint
from framework import run as running
from framework.module import Module
from framework.prepare import Prepared, prepare
from framework.resume import prepare_resumption
from framework.resume import resume as go_on

CARTPOLE = """
name: small
learner: policy_gradient
environment: {id: CartPole-v1, num_envs: 3, max_episode_steps: 30}
"""
POLICY = "policy: {name: categorical, trunk: {name: mlp, hidden: [8]}}\n"
TRAINER = "trainer: {max_steps: 30, log_every: 4, checkpoint_every: 5, accelerator: cpu}\n"
LAKE = """
name: small
learner: action_value
environment: {id: FrozenLake-v1, num_envs: 2, independent: true, kwargs: {map_name: 4x4}}
policy: {name: epsilon_greedy, epsilon: 0.5}
discount: 0.9
"""
RECIPES = {
    "reinforce": CARTPOLE
    + POLICY
    + """
baseline: {name: time_dependent, steps: 10}
update: reinforce
discount: 0.9
optimizer: {name: adam, lr: 0.01}
evaluation: {episodes: 4, every: 500}
"""
    + TRAINER,
    "a2c": CARTPOLE
    + """
trunk: {name: mlp, hidden: [8]}
policy: categorical
baseline: {name: value, scale: 5.0}
update: {name: a2c, steps: 5}
entropy: {name: linear, start: 0.1, end: 0, steps: 20}
discount: 0.9
trace: 0.9
optimizer: {name: adam, lr: {name: linear, start: 0.01, end: 0.001, steps: 25}}
evaluation: {episodes: 4, every: 150}
"""
    + TRAINER,
    "ppo": CARTPOLE.replace("}", ", normalize_observation: true, normalize_reward: true}")
    + POLICY
    + """
baseline: {name: value, trunk: {name: mlp, hidden: [8]}, clip: 0.5}
update:
  {name: ppo, steps: 16, passes: 3, minibatches: 2, clip: null, penalty: kl, penalty_target: 0.001, stop_at_kl: 0.05}
discount: 0.9
trace: 0.8
optimizer: {name: adam, lr: 0.03}
baseline_optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
evaluation: {episodes: 4, every: 90, greedy: false}
"""
    + TRAINER,
    "q_learning": LAKE + "step_size: 0.1\nevaluation: {episodes: 4, every: 15}\n" + TRAINER,
    "sarsa": LAKE + "target: sarsa\nevaluation: {episodes: 4, every: 15, greedy: false}\n" + TRAINER,
    "value_iteration": """
name: small
learner: value_iteration
environment: {id: FrozenLake-v1}
discount: 0.9
evaluation: {episodes: 4}
"""
    + TRAINER,
}


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take longer than these runs."""
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def prepared(folder: Path, text: str, *overrides: str, plugins: Sequence[Path] = ()) -> Prepared:
    return prepare(written(folder, text), overrides, plugins, folder)


def run(folder: Path, text: str, *overrides: str, plugins: Sequence[Path] = ()) -> running.Outcome:
    return running.run(prepared(folder, text, *overrides, plugins=plugins), folder / "runs", Console(quiet=True))


def resume(directory: Path, *overrides: str) -> running.Outcome:
    return go_on(prepare_resumption(directory, overrides, directory), Console(quiet=True))


def stopped_after(step: int, train: Callable[[], running.Outcome]) -> Path:
    """Train until SIGTERM arrives between this step and the next; return the run directory."""
    after_step, taken = Module._after_step, 0

    def counted(self: Module, metrics: Any) -> bool:
        nonlocal taken
        ends = after_step(self, metrics)
        taken += 1
        if taken == step:
            signal.raise_signal(signal.SIGTERM)
        return ends

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Module, "_after_step", counted)
        outcome = train()
    assert outcome.summary is None, "it was stopped before its end"
    assert outcome.directory is not None
    return outcome.directory


def run_in(root: Path) -> Path:
    (directory,) = (root / "small").iterdir()
    return directory


def state_of(directory: Path, name: str = checkpoint.LAST) -> dict[str, Any]:
    return checkpoint.load(directory / "checkpoints" / name)


def records(directory: Path, split: str | None = None) -> list[dict[str, Any]]:
    """The records, of one split or all, without the one value that is a time."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    found = [{name: value for name, value in line.items() if not name.startswith("throughput/")} for line in lines]
    return [line for line in found if split in (None, line["split"])]


TIMES = ("id", "finished", "wall_time_seconds", "training_seconds", "peak_memory_bytes", "seconds", "window_seconds")


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TIMES and not name.startswith("throughput/")}


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Compare plain containers and tensors, bit for bit; but for the generators of spaces, which nobody draws from."""
    if "_space.of._np_random." in where:  # gymnasium seeds them from the operating system
        return
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name, value in one.items():
            assert_equal(value, other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, (value, its) in enumerate(zip(one, other, strict=True)):
            assert_equal(value, its, f"{where}[{place}]")
    else:
        assert one == other, where


def assert_same_run(directory: Path, unbroken: Path) -> None:
    """Compare weights, buffers, optimisers, environments, what was recorded and the summary."""
    state, expected = state_of(directory), state_of(unbroken)
    assert expected["learner"], "an agent has weights, or tables"
    for part in ("learner", "optimizers", "experience"):
        assert_equal(state[part], expected[part], part)
    assert_equal(without_times(state["position"]), without_times(expected["position"]), "position")
    assert records(directory) == records(unbroken)
    one, other = (json.loads((each / "summary.json").read_text()) for each in (directory, unbroken))
    assert without_times(one) == without_times(other)
