"""What a run ran on: versions, command, commit, device, data, and everything that was not as asked for."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from typing import Any

import torch

from framework.files import sha256
from framework.prepare import Prepared

PACKAGES = ("fw", "pytorch-lightning", "omegaconf", "numpy", "wandb")


def describe_environment(prepared: Prepared, device: torch.device, step: int) -> dict[str, Any]:
    """Return what environment.json holds of one session of a run, as plain containers.

    Args:
        prepared: what is trained.
        device: what on.
        step: the optimiser step that the session starts at.
    """
    source = prepared.experience.source
    threads = f"cpu, {torch.get_num_threads()} threads"
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "step": step,
        "command": sys.argv,
        "seed": prepared.recipe.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
            "torch": torch.__version__,  # which says for what device it was built
        },
        "platform": platform.platform(),
        "processes": prepared.processes,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else threads,
        "git": _git_commit(),
        "data": {"description": source.description, "location": source.location, "sha256": source.sha256},
        "fallbacks": list(source.fallbacks),
        "plugins": [{"file": str(file.resolve()), "sha256": sha256(file)} for file in prepared.plugins],
        "broken_plugins": [str(plugin) for plugin in prepared.broken],
        "notes": prepared.notes,
        "warnings": [],  # alarms, as they are said
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
