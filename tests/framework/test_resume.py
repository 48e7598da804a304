"""A run that is killed and resumed is the unbroken run, to the bit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import checkpoint
from framework.errors import RecipeError
from tests.framework.interruption import MOMENTS, go_on, start, train

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16]}
decoder: {name: mlp, hidden: [16]}
prior: {name: standard_normal}
divergences:
  {DIVERGENCES}
optimizer: {name: adam, lr: {name: linear, start: 0.01, end: 0.001, steps: 50}}
trainer: {max_epochs: 4, log_every: 10, checkpoint_every: 15, accelerator: cpu}
"""
OBJECTIVES = {
    "vae": "kl: {weight: {name: linear, start: 0, end: 1, steps: 60}}",
    "infovae": "infovae: {alpha: 0, lambda: 10, of: {name: mmd}}",
}


@pytest.fixture(scope="module", params=list(OBJECTIVES))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "recipe.yaml"
    path.write_text(RECIPE.replace("{DIVERGENCES}", OBJECTIVES[request.param]))
    return path


@pytest.fixture(scope="module")
def unbroken(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unbroken")
    assert start(train, recipe, root, [], None) == 0
    return run_in(root)


def run_in(root: Path) -> Path:
    (run,) = (root / "small").iterdir()
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    learner: dict[str, torch.Tensor] = checkpoint.load(run / "checkpoints" / "last.ckpt")["learner"]
    return learner


def records(run: Path) -> list[dict[str, Any]]:
    """The records without the one value that is a time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("throughput/")} for line in lines]


def assert_same(run: Path, unbroken: Path) -> None:
    expected = weights(unbroken)
    assert expected, "the unbroken run has weights"
    for name, value in weights(run).items():
        assert torch.equal(value, expected[name]), name
    assert records(run) == records(unbroken)
    assert (run / "summary.json").exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_bit(recipe: Path, unbroken: Path, tmp_path: Path, moment: str) -> None:
    assert start(train, recipe, tmp_path, [], moment) == -signal.SIGKILL
    run = run_in(tmp_path)
    assert not (run / "summary.json").exists()
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)


def test_a_run_that_is_killed_again_and_again_resumes_to_the_bit(recipe: Path, unbroken: Path, tmp_path: Path) -> None:
    assert start(train, recipe, tmp_path, [], "in validation") == -signal.SIGKILL
    run = run_in(tmp_path)
    # Each session gets a little further: killed within a record's window, before a record is written.
    for _ in range(3):
        assert start(go_on, run, [], "before the first checkpoint") == -signal.SIGKILL
    assert start(go_on, run, [], "in a training step") == -signal.SIGKILL
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)


def test_patience_that_is_at_an_end_is_so_after_a_kill(recipe: Path, tmp_path: Path) -> None:
    impatient = [
        "trainer.early_stopping=1",
        "trainer.max_epochs=9",
        "optimizer.lr={name: linear, start: 0.01, end: 3.0, steps: 80}",
    ]
    assert start(train, recipe, tmp_path / "unbroken", impatient, None) == 0
    assert start(train, recipe, tmp_path / "killed", impatient, "after the last checkpoint") == -signal.SIGKILL
    run = run_in(tmp_path / "killed")
    assert start(go_on, run, []) == 0
    assert records(run)[-1]["epoch"] < 9
    assert_same(run, run_in(tmp_path / "unbroken"))


def notes_of_the_last_session(run: Path) -> list[str]:
    notes: list[str] = json.loads((run / "environment.json").read_text())["resumed"][-1]["notes"]
    return notes


def test_another_optimiser_starts_without_the_statistics_of_the_old_one(unbroken: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    assert start(go_on, run, ["optimizer={name: sgd, lr: 0.001, momentum: 0.5}", "trainer.max_epochs=5"]) == 0
    assert "the optimizer was Adam and is SGD: it starts without statistics" in notes_of_the_last_session(run)


def test_another_objective_has_records_and_a_best_checkpoint_of_its_own(
    recipe: Path, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    changed = ["divergences.mutual_information.weight=-1", "trainer.max_epochs=5"]
    assert start(go_on, run, changed) == 0
    assert "divergences changed: the best checkpoint is chosen anew" in notes_of_the_last_session(run)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["position"]["counters"]["epoch"] == 5


def test_a_plugin_that_was_changed_is_named(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    plugin = tmp_path / "plugin.py"
    plugin.write_text("")
    environment = json.loads((run / "environment.json").read_text())
    environment["plugins"] = [{"file": str(plugin), "sha256": "0" * 64}]
    (run / "environment.json").write_text(json.dumps(environment))
    assert start(go_on, run, []) == 0
    assert f"the plugin {plugin} is not what it was when the run was last trained" in notes_of_the_last_session(run)


def test_a_finished_run_goes_on_when_it_may_train_for_longer(recipe: Path, unbroken: Path, tmp_path: Path) -> None:
    assert start(train, recipe, tmp_path, ["trainer.max_epochs=2"], None) == 0
    run = run_in(tmp_path)
    assert start(go_on, run, ["trainer.max_epochs=4"]) == 0
    for name, value in weights(run).items():
        assert torch.equal(value, weights(unbroken)[name]), name
    environment = json.loads((run / "environment.json").read_text())
    assert [session["step"] for session in environment["resumed"]] == [42]


def test_a_damaged_checkpoint_is_passed_over_by_name(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    last = run / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one flipped bit
    last.write_bytes(content)
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)
    notes = json.loads((run / "environment.json").read_text())["resumed"][-1]["notes"]
    assert any("last.ckpt is damaged" in note and "the one before is used" in note for note in notes)


def test_the_seed_and_the_data_of_a_run_stay(unbroken: Path) -> None:
    from framework.resume import prepare_resumption

    with pytest.raises(RecipeError, match="a resumed run keeps its name, its seed, its learner and its data"):
        prepare_resumption(unbroken, ["seed=1"], unbroken)
    with pytest.raises(RecipeError, match="no run directory"):
        prepare_resumption(unbroken.parent, [], unbroken)


def test_checkpoints_hold_plain_containers_alone(unbroken: Path) -> None:
    for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
        state = torch.load(unbroken / "checkpoints" / name, weights_only=True)
        assert set(state) == {"learner", "optimizers", "position", "metrics_size", "recipe"}
