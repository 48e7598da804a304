"""What a run ran on: versions, command, commit, device, data, and everything that was not as asked for."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from framework.data import Source
from framework.discovery import BrokenPlugin

PACKAGES = ("fw", "torch", "pytorch-lightning", "omegaconf", "numpy", "wandb")


def describe_environment(
    *,
    seed: int,
    device: torch.device,
    source: Source,
    plugins: Iterable[Path],
    broken: Iterable[BrokenPlugin],
    notes: Iterable[str],
) -> dict[str, Any]:
    """Return what environment.json holds, as plain containers."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "git": _git_commit(),
        "data": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(source).items()},
        "fallbacks": list(source.fallbacks),
        "plugins": [{"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in plugins],
        "broken_plugins": [str(plugin) for plugin in broken],
        "notes": list(notes),
    }


def _git_commit() -> dict[str, Any] | None:
    """Return the commit of the working directory, and whether files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
