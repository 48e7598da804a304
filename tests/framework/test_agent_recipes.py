"""Recipes of agents: what is refused and how it is said, what ends a run, and the commands on them."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from framework import checkpoint
from framework.cli import app
from framework.errors import RecipeError
from framework.learners.policy_gradient import PolicyGradient
from framework.module import Module
from framework.prepare import prepare
from tests.framework.agent_runs import (
    RECIPES,
    assert_equal,
    records,
    run,
    state_of,
    stopped_after,
    without_pictures,
    written,
)

AGENT = """\
name: right
learner: policy_gradient
environment: {id: CartPole-v1, num_envs: 2}
policy: {name: categorical}
baseline: {name: value}
update: {name: a2c, steps: 5}
discount: 0.9
optimizer: {name: sgd, lr: 0.1}
evaluation: null
trainer: {max_steps: 4, accelerator: cpu}
"""
LAKE = """\
name: right
learner: action_value
environment: {id: FrozenLake-v1}
policy: {name: epsilon_greedy, epsilon: 0.1}
discount: 0.9
evaluation: null
trainer: {max_steps: 4, accelerator: cpu}
"""
SWEEPS = """\
name: right
learner: value_iteration
environment: {id: FrozenLake-v1}
discount: 0.9
evaluation: null
trainer: {max_steps: 4, accelerator: cpu}
"""
EXAMPLES = """\
name: right
learner: latent
data: {name: digits, batch_size: 64}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences: {kl: {}}
optimizer: adam
trainer: {max_epochs: 1, accelerator: cpu}
"""


@dataclass(frozen=True)
class Broken:
    """A recipe with some of its text replaced, and the report that it gets."""

    name: str
    recipe: str
    edits: tuple[tuple[str, str], ...]
    report: str


BROKEN = (
    Broken(
        "data for an agent",
        AGENT,
        (("discount: 0.9", "data: {name: digits}\ndiscount: 0.9"),),
        """\
right.yaml:7:1: data: learner 'policy_gradient' takes no data
   7 | data: {name: digits}
     | ^^^^
       found:    {name: digits}
       expected: no such key

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "agent limits for examples",
        EXAMPLES,
        (("max_epochs: 1", "max_env_steps: 100, max_episodes: 3"),),
        """\
right.yaml:10:26: trainer.max_env_steps: learner 'latent' learns from a data set
  10 | trainer: {max_env_steps: 100, max_episodes: 3, accelerator: cpu}
     |                          ^^^
       found:    100
       expected: one of max_epochs, max_steps, max_time

right.yaml:10:45: trainer.max_episodes: learner 'latent' learns from a data set
  10 | trainer: {max_env_steps: 100, max_episodes: 3, accelerator: cpu}
     |                                             ^
       found:    3
       expected: one of max_epochs, max_steps, max_time

2 problems found; nothing was trained.
""",
    ),
    Broken(
        "epochs for an agent",
        AGENT,
        (("max_steps: 4", "max_epochs: 4"),),
        """\
right.yaml:10:23: trainer.max_epochs: learner 'policy_gradient' learns from environments
  10 | trainer: {max_epochs: 4, accelerator: cpu}
     |                       ^
       found:    4
       expected: one of max_steps, max_env_steps, max_episodes, max_time

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "microbatches for an agent",
        AGENT,
        (("max_steps: 4", "max_steps: 4, microbatch: 8"),),
        """\
right.yaml:10:37: trainer.microbatch: learner 'policy_gradient' learns from environments
  10 | trainer: {max_steps: 4, microbatch: 8, accelerator: cpu}
     |                                     ^
       found:    8
       expected: null

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "several devices",
        AGENT,
        (("accelerator: cpu", "devices: 2"),),
        """\
right.yaml:10:34: trainer.devices: learner 'policy_gradient' acts in environments, in one process and in float32
  10 | trainer: {max_steps: 4, devices: 2}
     |                                  ^
       found:    2
       expected: auto or 1
       write:    auto

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "another precision",
        AGENT,
        (("accelerator: cpu", "precision: 16-mixed"),),
        """\
right.yaml:10:36: trainer.precision: learner 'policy_gradient' acts in environments, in one process and in float32
  10 | trainer: {max_steps: 4, precision: 16-mixed}
     |                                    ^^^^^^^^
       found:    16-mixed
       expected: 32
       write:    32

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a precision that there is not",
        AGENT,
        (("accelerator: cpu", "precision: 16"),),
        """\
right.yaml:10:36: trainer.precision: a number does not fit
  10 | trainer: {max_steps: 4, precision: 16}
     |                                    ^^
       found:    16
       expected: one of 32, 64, bf16-mixed, 16-mixed

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "epochs between validations",
        AGENT,
        (("accelerator: cpu", "validate_every: 3"),),
        """\
right.yaml:10:41: trainer.validate_every: an agent has no epochs
  10 | trainer: {max_steps: 4, validate_every: 3}
     |                                         ^
       found:    3
       expected: no such key
       write:    evaluation: {every: …}, in environment steps

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "patience without evaluations",
        AGENT,
        (("accelerator: cpu", "early_stopping: 3"),),
        """\
right.yaml:10:41: trainer.early_stopping: patience is for evaluations in training, and there are none
  10 | trainer: {max_steps: 4, early_stopping: 3}
     |                                         ^
       found:    3
       expected: null, or evaluations
       write:    evaluation: {every: …}, in environment steps

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "the best weights without evaluations",
        AGENT,
        (("accelerator: cpu", "weights: best"),),
        """\
right.yaml:10:34: trainer.weights: the best weights are those of an evaluation, and there is none
  10 | trainer: {max_steps: 4, weights: best}
     |                                  ^^^^
       found:    best
       expected: last, or an evaluation
       write:    last

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an environment that there is not",
        AGENT,
        (("CartPole-v1", "CartPoel-v1"),),
        """\
right.yaml:3:19: environment.id: this value is refused
   3 | environment: {id: CartPoel-v1, num_envs: 2}
     |                   ^^^^^^^^^^^
       found:    CartPoel-v1
       expected: the id of an environment in gymnasium's registry, with its version
       write:    CartPole-v1

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an environment's option",
        AGENT,
        (("num_envs: 2", "kwargs: {sutton_barto_rewards: true}"),),
        """\
right.yaml:3:63: environment.kwargs.sutton_barto_rewards: this value is refused
   3 | environment: {id: CartPole-v1, kwargs: {sutton_barto_rewards: true}}
     |                                                               ^^^^
       found:    True
       expected: an option of CartPole-v1: sutton_barto_reward
       write:    sutton_barto_reward

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an environment's option of another type",
        LAKE,
        (("id: FrozenLake-v1", "id: FrozenLake-v1, kwargs: {map_name: 5x5}"),),
        """\
right.yaml:3:34: environment.kwargs: this value is refused
   3 | environment: {id: FrozenLake-v1, kwargs: {map_name: 5x5}}
     |                                  ^^^^^^
       found:    {map_name: 5x5}
       expected: what FrozenLake-v1 accepts (KeyError: '5x5')

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a policy for other actions",
        AGENT,
        (("categorical", "gaussian"),),
        """\
right.yaml:4:1: policy.action_space: this value is refused
   4 | policy: {name: gaussian}
     | ^^^^^^
       found:    Discrete(2)
       expected: a Box space
       write:    policy: {name: categorical}

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a rule for exploring",
        AGENT,
        (("{name: categorical}", "{name: epsilon_greedy, epsilon: 0.1}"),),
        """\
right.yaml:4:1: policy: this value is refused
   4 | policy: {name: epsilon_greedy, epsilon: 0.1}
     | ^^^^^^
       found:    epsilon_greedy
       expected: a policy of observations: rules for exploring are for the learner action_value

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a trace without a value function",
        AGENT,
        (
            ("{name: value}", "null"),
            ("{name: a2c, steps: 5}", "reinforce"),
            ("discount: 0.9", "discount: 0.9\ntrace: 0.5"),
        ),
        """\
right.yaml:8:8: trace: this value is refused
   8 | trace: 0.5
     |        ^^^
       found:    0.5
       expected: 1, or a baseline that is a value function
       write:    baseline: {name: value}

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a cut without a value function",
        AGENT,
        (("{name: value}", "{name: moving_average}"),),
        """\
right.yaml:6:28: update.steps: this value is refused
   6 | update: {name: a2c, steps: 5}
     |                            ^
       found:    5: a rollout is cut there, and nothing stands for the time after
       expected: whole episodes, a discount of 0, or a baseline that is a value function
       write:    baseline: {name: value}

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an optimiser for a baseline on a shared trunk",
        AGENT,
        (
            ("policy:", "trunk: {name: mlp, hidden: [4]}\npolicy:"),
            ("evaluation:", "baseline_optimizer: {name: sgd, lr: 0.1}\nevaluation:"),
        ),
        """\
right.yaml:10:1: baseline_optimizer: this value is refused
  10 | baseline_optimizer: {name: sgd, lr: 0.1}
     | ^^^^^^^^^^^^^^^^^^
       found:    a shared trunk, which has one optimiser
       expected: a baseline with parameters of its own

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an optimiser for a baseline that fits nothing",
        AGENT,
        (
            ("{name: value}", "null"),
            ("{name: a2c, steps: 5}", "reinforce"),
            ("evaluation:", "baseline_optimizer: {name: sgd, lr: 0.1}\nevaluation:"),
        ),
        """\
right.yaml:9:1: baseline_optimizer: this value is refused
   9 | baseline_optimizer: {name: sgd, lr: 0.1}
     | ^^^^^^^^^^^^^^^^^^
       found:    a baseline that fits nothing
       expected: a baseline with parameters of its own

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "runs of their own with one set of weights",
        AGENT,
        (
            ("num_envs: 2", "num_envs: 2, independent: true"),
            ("{name: value}", "null"),
            ("{name: a2c, steps: 5}", "reinforce"),
        ),
        """\
right.yaml:4:1: policy: this value is refused
   4 | policy: {name: categorical}
     | ^^^^^^
       found:    1 set of weights or averages for 2 environments, each a run of its own
       expected: one for each, as tabular_softmax and tables of values have, or independent: false

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "ppo for runs of their own",
        AGENT,
        (
            ("CartPole-v1, num_envs: 2", "FrozenLake-v1, num_envs: 2, independent: true"),
            ("categorical", "tabular_softmax"),
            ("{name: a2c, steps: 5}", "{name: ppo}"),
        ),
        """\
right.yaml:6:1: update.minibatches: this value is refused
   6 | update: {name: ppo}
     | ^^^^^^
       found:    4
       expected: 1: runs of their own do not share minibatches

right.yaml:6:1: update.passes: this value is refused
   6 | update: {name: ppo}
     | ^^^^^^
       found:    4
       expected: 1: whether another pass follows would be decided for all runs at once

right.yaml:6:1: update.normalize_advantages: this value is refused
   6 | update: {name: ppo}
     | ^^^^^^
       found:    true
       expected: false: runs of their own are not compared with each other

3 problems found; nothing was trained.
""",
    ),
    Broken(
        "statistics for runs of their own",
        AGENT,
        (("num_envs: 2", "num_envs: 2, independent: true, normalize_reward: true"),),
        """\
right.yaml:3:82: environment.normalize_reward: this value is refused
   3 | environment: {id: CartPole-v1, num_envs: 2, independent: true, normalize_reward: true}
     |                                                                                  ^^^^
       found:    true
       expected: false: environments that are runs of their own share no statistics
       write:    normalize_reward: false

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "normalised numbers of states",
        AGENT,
        (("CartPole-v1", "FrozenLake-v1, normalize_observation: true"),),
        """\
right.yaml:3:57: environment.normalize_observation: this value is refused
   3 | environment: {id: FrozenLake-v1, normalize_observation: true, num_envs: 2}
     |                                                         ^^^^
       found:    true
       expected: false, or observations in a floating-point Box: they are in Discrete(16)
       write:    false

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "no episodes to judge by",
        AGENT,
        (("evaluation: null", "evaluation: {episodes: 0}"),),
        """\
right.yaml:9:24: evaluation.episodes: this value is refused
   9 | evaluation: {episodes: 0}
     |                        ^
       found:    0
       expected: 1 or more

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a trunk that there is not",
        AGENT,
        (("policy:", "trunk: {name: mpl, hidden: [4]}\npolicy:"),),
        """\
right.yaml:4:15: trunk.name: there is no trunk 'mpl'
   4 | trunk: {name: mpl, hidden: [4]}
     |               ^^^
       found:    mpl
       expected: one of conv, mlp
       write:    mlp

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "whole episodes without an end",
        AGENT,
        (
            ("CartPole-v1", "fw/ShortCorridor-v0"),
            ("baseline: {name: value}\n", ""),
            ("{name: a2c, steps: 5}", "reinforce"),
        ),
        """\
right.yaml:3:1: environment.max_episode_steps: a rollout of whole episodes ends when all of them have
   3 | environment: {id: fw/ShortCorridor-v0, num_envs: 2}
     | ^^^^^^^^^^^
       found:    null, and fw/ShortCorridor-v0 has no limit of its own: an episode may go on for ever
       expected: the number of steps after which an episode is truncated
       write:    max_episode_steps: 1000

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an ordinary policy for action values",
        LAKE,
        (("{name: epsilon_greedy, epsilon: 0.1}", "tabular_softmax"),),
        """\
right.yaml:4:9: policy: this value is refused
   4 | policy: tabular_softmax
     |         ^^^^^^^^^^^^^^^
       found:    tabular_softmax
       expected: a rule for exploring, such as epsilon_greedy

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "several environments for one table",
        LAKE,
        (("FrozenLake-v1", "FrozenLake-v1, num_envs: 3"),),
        """\
right.yaml:3:1: environment.independent: this value is refused
   3 | environment: {id: FrozenLake-v1, num_envs: 3}
     | ^^^^^^^^^^^
       found:    False
       expected: true: each environment has a table of its own
       write:    independent: true

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a clipped gradient where there is none",
        LAKE,
        (("accelerator: cpu", "gradient_clip: 1.0"),),
        """\
right.yaml:7:40: trainer.gradient_clip: learner 'action_value' has no gradients
   7 | trainer: {max_steps: 4, gradient_clip: 1.0}
     |                                        ^^^
       found:    1.0
       expected: null
       write:    null

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "an environment without a table",
        SWEEPS,
        (("FrozenLake", "CartPole"),),
        """\
right.yaml:3:19: environment.id: this value is refused
   3 | environment: {id: CartPole-v1}
     |                   ^^^^^^^^^^^
       found:    <TimeLimit<OrderEnforcing<PassiveEnvChecker<CartPoleEnv<CartPole-v1>>>>>
       expected: an environment with a table of transitions in env.unwrapped.P

1 problem found; nothing was trained.
""",
    ),
    Broken(
        "a budget of steps for who takes none",
        SWEEPS,
        (("max_steps: 4", "max_env_steps: 4"),),
        """\
right.yaml:6:26: trainer.max_env_steps: learner 'value_iteration' learns without acting
   6 | trainer: {max_env_steps: 4, accelerator: cpu}
     |                          ^
       found:    4
       expected: one of max_steps, max_time

1 problem found; nothing was trained.
""",
    ),
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_wrong_recipe_is_refused_with_place_found_expected_and_what_to_write(
    case: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = case.recipe
    for old, new in case.edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "right.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as error:
        prepare(Path("right.yaml"), [], [], tmp_path)
    # What a command adds: it is not for every command to say.
    assert f"{str(error.value).removesuffix('.')}; nothing was trained." == case.report.rstrip("\n")
    checked = CliRunner().invoke(app, ["check", "right.yaml"])
    assert checked.exit_code == 2
    assert checked.stderr.rstrip("\n") == case.report.rstrip("\n"), "fw check says the same, without acting"


@pytest.mark.parametrize("text", [AGENT, LAKE, SWEEPS, EXAMPLES], ids=["agent", "lake", "sweeps", "examples"])
def test_the_recipes_are_right_without_the_edits(text: str, tmp_path: Path) -> None:
    assert prepare(written(tmp_path, text), [], [], tmp_path).recipe.name == "right"


# Budgets -------------------------------------------------------------------------------------------------------------


def summary_of(folder: Path, name: str, *overrides: str) -> tuple[dict[str, Any], Path]:
    outcome = run(folder, RECIPES[name], *overrides)
    assert outcome.summary is not None
    assert outcome.directory is not None
    return outcome.summary, outcome.directory


def test_a_budget_of_steps_ends_with_the_rollout_that_reaches_it(tmp_path: Path) -> None:
    # 16 steps in 3 environments less dummies, each rollout in 6 optimiser steps but where the divergence ends it.
    overrides = ["trainer.max_steps=null", "trainer.max_env_steps=100", "trainer.log_every=1", "update.stop_at_kl=null"]
    summary, directory = summary_of(tmp_path, "ppo", *overrides)
    training = records(directory, "train")
    assert summary["step"] == len(training) == 18
    counted = sorted({record["env_steps"] for record in training})
    assert len(counted) == 3
    assert counted[1] < 100 <= counted[2] == summary["env_steps"] <= 144
    assert [record["env_steps"] for record in training] == [count for count in counted for _ in range(6)]


def test_a_budget_of_episodes_ends_with_the_rollout_that_reaches_it(tmp_path: Path) -> None:
    overrides = ["trainer.max_steps=null", "trainer.max_episodes=7", "trainer.log_every=1"]
    summary, directory = summary_of(tmp_path, "reinforce", *overrides)
    training = records(directory, "train")
    assert [(record["step"], record["episodes"]) for record in training] == [(1, 3), (2, 6), (3, 9)]
    assert summary["episodes"] == 9
    assert summary["env_steps"] == training[-1]["env_steps"] > 9


def test_the_first_of_several_budgets_ends_the_run(tmp_path: Path) -> None:
    summary, _ = summary_of(tmp_path, "a2c", "trainer.max_env_steps=35", "trainer.max_episodes=1000")
    assert summary["step"] == 3
    assert 35 < summary["env_steps"] <= 45


def test_records_carry_the_counters_and_names_of_an_agent(tmp_path: Path) -> None:
    _, directory = summary_of(tmp_path, "a2c")
    training, evaluations, test = (records(directory, split) for split in ("train", "evaluation", "test"))
    assert {"step", "env_steps", "episodes", "split", "train/entropy", "train/value_loss"} <= training[-1].keys()
    assert "epoch" not in training[-1]
    assert any("train/return" in record for record in training)
    for record in (*evaluations, *test):
        split = record["split"]
        assert {name for name in record if "/" in name} == {
            f"{split}/return", f"{split}/length", f"{split}/return_standard_error"
        }  # fmt: skip
    assert len(test) == 1


def test_evaluations_are_as_far_apart_as_asked_for_and_the_end_has_one(tmp_path: Path) -> None:
    summary, directory = summary_of(tmp_path, "q_learning", "evaluation.every=20", "trainer.max_steps=34")
    steps = [record["env_steps"] for record in records(directory, "evaluation")]
    assert len(steps) == summary["env_steps"] // 20 + (summary["env_steps"] % 20 > 0)
    assert [step // 20 for step in steps[: summary["env_steps"] // 20]] == [*range(1, summary["env_steps"] // 20 + 1)]
    assert steps[-1] == summary["env_steps"]
    _, without = summary_of(tmp_path / "none", "q_learning", "evaluation=null")
    assert {record["split"] for record in records(without)} == {"train"}


def test_the_best_weights_are_tested_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Module.evaluate
    returns = iter([1.0, 5.0, 3.0, 2.0])
    tested: list[dict[str, torch.Tensor]] = []

    def told(self: Module, split: str) -> dict[str, float]:
        if split == "test":
            tested.append({name: value.clone() for name, value in self.learner.state_dict().items()})
            return evaluate(self, split)
        return {"return": next(returns)}

    monkeypatch.setattr(Module, "evaluate", told)
    overrides = ["trainer.weights=best", "trainer.max_steps=36", "evaluation.every=150"]
    summary, directory = summary_of(tmp_path, "a2c", *overrides)
    found = [record["evaluation/return"] for record in records(directory, "evaluation")]
    assert found == [1.0, 5.0, 3.0, 2.0][: len(found)]
    assert len(found) > 2
    assert summary["weights"] == checkpoint.BEST
    best, last = state_of(directory, checkpoint.BEST), state_of(directory)
    assert best["position"]["counters"]["env_steps"] == records(directory, "evaluation")[1]["env_steps"]
    assert best["position"]["best"] == -5.0
    assert_equal(tested[0], dict(best["learner"]), "learner")
    assert any(not torch.equal(value, last["learner"][name]) for name, value in tested[0].items())


def test_patience_is_counted_in_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    returns = iter([1.0, 5.0, 3.0, 4.0, 9.0])
    evaluate = Module.evaluate

    def told(self: Module, split: str) -> dict[str, float]:
        return {"return": next(returns)} if split == "evaluation" else evaluate(self, split)

    monkeypatch.setattr(Module, "evaluate", told)
    overrides = ["trainer.early_stopping=2", "trainer.max_steps=null", "trainer.max_env_steps=100000"]
    summary, directory = summary_of(tmp_path, "a2c", *overrides)
    assert [record["evaluation/return"] for record in records(directory, "evaluation")] == [1.0, 5.0, 3.0, 4.0]
    assert summary["env_steps"] < 1000


def test_a_sigterm_while_it_acts_is_heeded_after_the_rollouts_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, calls = PolicyGradient.digest, 0

    def signalled(self: PolicyGradient, rollout: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # the first one tries the agent out
            signal.raise_signal(signal.SIGTERM)
        return digest(self, rollout)

    monkeypatch.setattr(PolicyGradient, "digest", signalled)
    outcome = run(tmp_path, RECIPES["a2c"])
    assert outcome.summary is None
    assert outcome.directory is not None
    assert state_of(outcome.directory)["position"]["counters"]["optimizer_steps"] == 3


def test_a_sigterm_between_rollouts_begins_no_other(tmp_path: Path) -> None:
    directory = stopped_after(4, lambda: run(tmp_path, RECIPES["a2c"]))
    counters = state_of(directory)["position"]["counters"]
    assert counters["optimizer_steps"] == counters["epoch"] == 4
    assert 50 < counters["env_steps"] <= 60, "5 steps of 3 environments for each, less dummies"
    assert "stopped by SIGTERM; go on with: fw resume" in (directory / "log.txt").read_text()


# The commands --------------------------------------------------------------------------------------------------------


def test_a_run_repeats_itself_from_the_recipe_in_its_directory(tmp_path: Path) -> None:
    for name in RECIPES:
        _, first = summary_of(tmp_path / name, name, "seed=3")
        again = run(tmp_path / name / "again", (first / "recipe.yaml").read_text()).directory
        assert again is not None
        assert records(again) == records(first), name
        assert_equal(state_of(again)["learner"], state_of(first)["learner"], name)
        assert (again / "recipe.yaml").read_text() == (first / "recipe.yaml").read_text()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    (_, first), (_, other) = (summary_of(tmp_path / str(seed), "a2c", f"seed={seed}") for seed in (0, 1))
    assert records(first) != records(other)


@pytest.mark.parametrize("name", RECIPES)
def test_check_show_and_dry_run_know_agents(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, RECIPES[name])
    check, show, dry = (
        CliRunner().invoke(app, arguments)
        for arguments in (["check", "recipe.yaml"], ["show", "recipe.yaml"], ["run", "recipe.yaml", "--dry-run"])
    )
    assert (check.exit_code, show.exit_code, dry.exit_code) == (0, 0, 0)
    assert check.stdout == "recipe.yaml: right (small)\n"
    for shown in (show.stdout, dry.stdout):
        assert next(line for line in RECIPES[name].splitlines() if line.startswith("learner: ")) in shown
        assert "environment:" in shown
        assert "Sutton & Barto" in shown
    assert "\nenvironment: " in dry.stdout
    assert dry.stdout.endswith("nothing was trained: --dry-run\n")
    assert not (tmp_path / "runs").exists()
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_the_summary_of_a_run_is_what_its_last_records_say(tmp_path: Path) -> None:
    summary, directory = summary_of(tmp_path, "a2c")
    assert json.loads((directory / "summary.json").read_text()) == summary
    for split in ("train", "evaluation", "test"):
        last = records(directory, split)[-1]
        for name in [name for name in last if name.startswith(f"{split}/")]:
            assert summary[name] == last[name]
    assert summary["throughput/env_steps_per_second"] > 0


SHIPPED = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("cartpole_reinforce", [], "reinforce(A), with A = G, γ = 0.99"),
        (
            "acrobot_ppo",
            [],
            "ppo(A) − 0.01 · entropy + 0.5 · the loss of value, with A = the generalized advantage with value and "
            "λ = 0.95, γ = 0.99",
        ),
        ("gradient_bandit", [], "reinforce(A), with A = G − moving_average, γ = 0"),
        ("bandit_testbed", [], "Q(s, a) = E[r], in steps of 1/n"),
        (
            "bandit_testbed",
            ["discount=0.9", "target=sarsa", "step_size=0.1"],
            "Q(s, a) = E[r + 0.9 · Q(s', a')], in steps of 0.1",
        ),
        ("value_iteration_frozen_lake", [], "v(s) = max_a E[r + 0.99 · v(s')]"),
    ],
)
def test_what_an_agent_seeks_is_shown(name: str, overrides: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, ["show", str(SHIPPED / f"{name}.yaml"), *overrides])
    assert result.exit_code == 0, result.output
    assert f"objective: {expected}" in result.output.splitlines()
