"""An agent as it stands at one moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from framework import checkpoint
from framework.errors import RecipeError
from framework.frozen import freeze
from tests.framework.small_runs import CARTPOLE, CORRIDOR, trained, written
from tests.framework.test_surrogate import agent_of


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_of_a_run_it_has_the_weights(tmp_path: Path) -> None:
    run = trained(tmp_path, CARTPOLE)
    state = checkpoint.load(run / "checkpoints" / "last.ckpt")
    frozen = freeze(run, [], None, [], tmp_path)
    assert_same(frozen.agent.state_dict(), state["learner"])
    assert frozen.env_steps == state["position"]["counters"]["env_steps"] >= 600
    assert frozen.directory is not None
    assert frozen.directory.path == run


def test_of_a_recipe_it_is_at_its_beginning(tmp_path: Path) -> None:
    frozen = freeze(written(tmp_path, CARTPOLE), ["seed=5"], None, [], tmp_path)
    assert_same(frozen.agent.state_dict(), agent_of(tmp_path, CARTPOLE, "seed=5").state_dict())
    assert (frozen.name, frozen.env_steps, frozen.directory) == ("cartpole", 0, None)


def test_after_some_steps_it_is_what_a_run_would_have_come_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    frozen = freeze(written(tmp_path, CARTPOLE), [], 300, [], tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not frozen.agent.training
    run = trained(tmp_path, CARTPOLE, "trainer.max_env_steps=300")
    state = checkpoint.load(run / "checkpoints" / "last.ckpt")
    assert_same(frozen.agent.state_dict(), state["learner"])
    assert frozen.env_steps == state["position"]["counters"]["env_steps"]


def test_a_run_is_taken_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a run is taken as it is\n +found: +seed=1 --steps\n +expected: +a recipe"):
        freeze(tmp_path, ["seed=1"], 10, [], tmp_path)
    with pytest.raises(RecipeError, match="no run directory"):
        freeze(tmp_path, [], None, [], tmp_path)


def test_what_is_called_no_recipe_is_looked_for_among_the_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cartpole/nope: no run directory\n +expected: +a directory that `fw run`"):
        freeze(tmp_path / "cartpole" / "nope", [], None, [], tmp_path)
    with pytest.raises(RecipeError, match=r"nope\.yaml.*cannot be read"):
        freeze(tmp_path / "nope.yaml", [], None, [], tmp_path)
    plain = written(tmp_path, CORRIDOR).rename(tmp_path / "corridor")
    assert freeze(plain, [], None, [], tmp_path).name == "corridor"


def test_no_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--steps: this value is refused\n +found: +0\n +expected: +1 or more"):
        freeze(written(tmp_path, CORRIDOR), [], 0, [], tmp_path)
