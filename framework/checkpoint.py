"""Checkpoints: plain containers of tensors, written so that a kill at any moment leaves a good one."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from framework.files import atomic, sync_folder

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
MANIFEST = "manifest.json"
# Each attempt to save adds a sum, also one that is killed before the renames: so many in a row may be.
KEPT_SUMS = 50


class CheckpointError(OSError):
    """No checkpoint can be read; the message names each and says why. Exit code 74."""


def save(state: dict[str, Any], folder: Path, *, best: bool) -> None:
    """Write `last.ckpt`, keeping the one before as `previous.ckpt`; the best also becomes `best.ckpt`.

    The manifest comes first. It holds the sha256 of the new file and of the last that were written before it: whichever
    of the renames a kill lets happen, each file that has a name is whole and in the manifest.

    Args:
        state: tensors, numbers, strings, lists and dicts of them.
        folder: the run's checkpoint folder.
        best: whether this is the best so far.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    fresh = folder / ".fresh.ckpt"
    with atomic(fresh) as file:
        file.write(content)
    digest = hashlib.sha256(content).hexdigest()
    known = _manifest(folder)
    sums = {"recent": [*known["recent"], digest][-KEPT_SUMS:], "best": known["best"]}
    if best:
        sums["best"] = [*known["best"], digest][-KEPT_SUMS:]
    with atomic(folder / MANIFEST) as file:
        file.write(json.dumps(sums, indent=1).encode())
    if best:
        with atomic(folder / BEST) as file:
            file.write(content)
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    fresh.replace(folder / LAST)
    sync_folder(folder)


def load_last(folder: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Return the newest checkpoint that is whole; one that is damaged is passed over, by name.

    Args:
        folder: the run's checkpoint folder.
        warn: called with a sentence for each checkpoint that is passed over.

    Raises:
        CheckpointError: there is none.
    """
    reasons = []
    for name in (LAST, PREVIOUS):
        try:
            return load(folder / name)
        except CheckpointError as error:
            reasons.append(str(error))
            if (folder / name).exists():
                warn(f"{error}; the one before is used")
    raise CheckpointError("no checkpoint can be read: " + "; ".join(reasons))


def load(path: Path) -> dict[str, Any]:
    """Return one checkpoint's content, its tensors on the CPU.

    Raises:
        CheckpointError: it is missing, or its bytes are not those that were written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not any(hashlib.sha256(content).hexdigest() in sums for sums in _manifest(path.parent).values()):
        raise CheckpointError(f"{path} is damaged: its sha256 is not in {MANIFEST}")
    # Nothing but tensors and plain containers is ever unpickled: a checkpoint cannot run code.
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _manifest(folder: Path) -> dict[str, list[str]]:
    """Return the sums of the newest checkpoints, and of the newest that were the best."""
    path = folder / MANIFEST
    if not path.exists():
        return {"recent": [], "best": []}
    try:
        sums: dict[str, list[str]] = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return sums
