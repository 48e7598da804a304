"""Ranks fail together: whatever ends one ends all, the cause is said last, and the run can go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import checkpoint
from tests.framework.command_line import DEEDS, Cause, Ended, fw, left_of
from tests.framework.comparison import assert_same, run_in

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16], dropout: 0.2}
decoder: {name: mlp, hidden: [16]}
prior: {name: standard_normal}
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.002}
trainer: {max_epochs: 3, log_every: 10, checkpoint_every: 15, accelerator: cpu, precision: 64}
"""
# An epoch has 21 steps, and checkpoints are made at 15, 21, 30, 42, … What is cut off is the 27th step, the validation
# at the 42nd, and the checkpoint at the 30th; but when that strikes the second rank, the first goes on to save.
SAVED = {"in a training step": (21, 21), "in validation": (30, 30), "while a checkpoint is saved": (21, 30)}
LIMIT = 10.0  # seconds from the cause to the end of the last process
# Roundings of sums in another order over 63 steps of Adam, on weights of size 1.
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def unbroken(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    ended = fw(folder, "run", str(recipe))
    assert (ended.code, ended.stderr, ended.ranks) == (0, [], [])
    return run_in(folder / "runs", "small")


def steps_saved(run: Path) -> int:
    """Return the optimiser steps in the last checkpoint, which is whole."""
    warnings: list[str] = []
    state = checkpoint.load_last(run / "checkpoints", warnings.append)
    assert warnings == []
    steps: int = state["position"]["counters"]["optimizer_steps"]
    return steps


def broken(recipe: Path, folder: Path, cause: Cause) -> Ended:
    """Train on two processes until the cause; all end, and soon."""
    ended = fw(folder, "run", str(recipe), "trainer.devices=2", cause=cause)
    assert (folder / "struck").exists(), "the cause did not come to pass"
    assert ended.seconds < LIMIT
    assert len(ended.ranks) == 2
    assert left_of(ended.ranks) == []
    return ended


@pytest.mark.parametrize("place", list(SAVED))
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("deed", [deed for deed in DEEDS if deed != "SIGTERM"])
def test_what_ends_one_ends_all_and_is_said_last(
    recipe: Path, tmp_path: Path, deed: str, rank: int, place: str
) -> None:
    ended = broken(recipe, tmp_path, Cause(deed, rank, place))
    code, words = {
        "an exception": (1, "LookupError: nothing was found"),
        "an exit": (3, f"rank {rank} of 2 ended with exit code 3, without a word"),
        "SIGKILL": (137, f"rank {rank} of 2 was ended by SIGKILL"),
    }[deed]
    assert ended.code == code
    assert ended.stderr[-1] == words
    said_of = [line for line in ended.stderr if line.startswith("rank ")]
    first = f"rank {rank} of 2: Traceback (most recent call last):" if deed == "an exception" else words
    assert said_of == [first], "one cause, and no other"
    assert steps_saved(run_in(tmp_path / "runs", "small")) == SAVED[place][rank]


@pytest.mark.parametrize("place", list(SAVED))
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_makes_all_save_and_stop(recipe: Path, tmp_path: Path, rank: int, place: str) -> None:
    ended = broken(recipe, tmp_path, Cause("SIGTERM", rank, place))
    assert (ended.code, ended.stderr) == (75, [])
    by = "SIGTERM" if rank == 0 else "a signal to another process"
    run = run_in(tmp_path / "runs", "small")
    assert ended.stdout[-1] == f"stopped by {by}; go on with: fw resume {run.relative_to(tmp_path)}"
    assert steps_saved(run) > SAVED[place][0], "what was cut off was finished, and saved"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_before_training_ends_all_as_a_stop(recipe: Path, tmp_path: Path, rank: int) -> None:
    ended = broken(recipe, tmp_path, Cause("SIGTERM", rank, "before training"))
    said = [] if rank else ["stopped before training began"]  # the first process speaks for all
    assert (ended.code, ended.stderr) == (75, said)


@pytest.mark.parametrize("deed", ["SIGKILL", "SIGTERM"])
def test_a_run_whose_second_rank_was_ended_goes_on_as_if_nothing_had_been(
    recipe: Path, unbroken: Path, tmp_path: Path, deed: str
) -> None:
    broken(recipe, tmp_path, Cause(deed, 1, "in a training step"))
    run = run_in(tmp_path / "runs", "small")
    assert not (run / "summary.json").exists()
    ended = fw(tmp_path, "resume", str(run.relative_to(tmp_path)), "trainer.devices=1")
    assert (ended.code, ended.stderr) == (0, [])
    assert (run / "summary.json").exists()
    assert_same(run, unbroken, TOLERANCE)
