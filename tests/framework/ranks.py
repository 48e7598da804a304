"""What the ranks of a test do: train recipes as `fw run` does, inside a group of processes that has met."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from framework.distributed import rank, world_size
from framework.launch import Place
from tests.framework.interruption import console, kill_on_call, quiet


def place() -> Place | None:
    """Where this process stands; Lightning reads it from the variables that a launcher sets."""
    count = world_size()
    names = {"RANK": rank(), "LOCAL_RANK": rank(), "WORLD_SIZE": count, "GROUP_RANK": 0}
    os.environ.update({name: str(value) for name, value in names.items()})
    return Place(rank(), count, rank(), count, 0) if count > 1 else None


def train_each(recipes: Sequence[Path], root: Path, overrides: Sequence[str], killed_at: int | None = None) -> None:
    """Train recipes one after the other; all processes are killed at an optimiser step of the first, if one is told."""
    from framework import run as running
    from framework.optimizer import Optimizer
    from framework.prepare import prepare

    quiet()
    if killed_at is not None:
        kill_on_call(Optimizer, "step", killed_at, after=True)
    for recipe in recipes:
        running.run(prepare(recipe, overrides, [], root / "no-data", place()), root, console())


def go_on(run: Path) -> None:
    """Go on with a run that was killed."""
    from framework.resume import prepare_resumption, resume

    quiet()
    resume(prepare_resumption(run, [], run / "no-data", [], place()), console())
