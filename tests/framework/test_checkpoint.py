"""Checkpoints: whole or passed over."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from framework import checkpoint


def state(step: int) -> dict[str, object]:
    return {"learner": {"weight": torch.full((3,), float(step))}, "step": step}


def test_the_last_the_one_before_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, best in ((1, True), (2, True), (3, False), (4, False)):
        checkpoint.save(state(step), tmp_path, best=best)
    steps = {name: checkpoint.load(tmp_path / name)["step"] for name in ("last.ckpt", "previous.ckpt", "best.ckpt")}
    assert steps == {"last.ckpt": 4, "previous.ckpt": 3, "best.ckpt": 2}
    assert {path.name for path in tmp_path.iterdir()} == {*steps, "manifest.json"}, "nothing temporary is left"


def test_a_damaged_checkpoint_is_passed_over_by_name(tmp_path: Path) -> None:
    checkpoint.save(state(1), tmp_path, best=False)
    checkpoint.save(state(2), tmp_path, best=False)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1])
    said: list[str] = []
    assert checkpoint.load_last(tmp_path, said.append)["step"] == 1
    assert said == [f"{last} is damaged: its sha256 is not in manifest.json; the one before is used"]


def test_a_kill_between_the_renames_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint.save(state(1), tmp_path, best=False)
    (tmp_path / "last.ckpt").replace(tmp_path / "previous.ckpt")
    said: list[str] = []
    assert checkpoint.load_last(tmp_path, said.append)["step"] == 1
    assert said == [], "nothing was damaged"


def test_without_a_whole_checkpoint_the_error_names_each(tmp_path: Path) -> None:
    checkpoint.save(state(1), tmp_path, best=False)
    (tmp_path / "last.ckpt").write_bytes(b"")
    expected = r"no checkpoint can be read: .*last\.ckpt is damaged.*; .*previous\.ckpt cannot be read: No such file"
    with pytest.raises(checkpoint.CheckpointError, match=expected):
        checkpoint.load_last(tmp_path, lambda sentence: None)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this ran",)

    checkpoint.save({"learner": Malicious()}, tmp_path, best=False)
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(tmp_path / "last.ckpt")


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(state(1), tmp_path, best=True)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(state(2), tmp_path, best=True)
    assert checkpoint.load(tmp_path / "last.ckpt")["step"] == 1
    assert checkpoint.load(tmp_path / "best.ckpt")["step"] == 1
    assert not [path for path in tmp_path.iterdir() if re.search(r"\.tmp$", path.name)]


def test_saves_that_fail_again_and_again_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        checkpoint.save(state(step), tmp_path, best=True)

    def fails(path: Path, target: Path) -> Path:
        if target.name == "previous.ckpt":
            raise OSError(5, "Input/output error")
        return replace(path, target)

    replace = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fails)
        for step in range(3, 8):
            with pytest.raises(OSError, match="Input/output"):
                checkpoint.save(state(step), tmp_path, best=False)
    steps = [checkpoint.load(tmp_path / name)["step"] for name in ("last.ckpt", "previous.ckpt", "best.ckpt")]
    assert steps == [2, 1, 2]


def test_the_manifest_does_not_grow_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "KEPT_SUMS", 3)
    for step in range(10):
        checkpoint.save(state(step), tmp_path, best=step % 2 == 0)
    sums = json.loads((tmp_path / "manifest.json").read_text())
    assert len(sums["recent"]) == 3
    assert len(sums["best"]) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in [*sums["recent"], *sums["best"]])
    assert checkpoint.load(tmp_path / "best.ckpt")["step"] == 8


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    checkpoint.save(state(1), tmp_path, best=False)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match=r"manifest\.json is damaged: Expecting"):
        checkpoint.load_last(tmp_path, lambda sentence: None)
