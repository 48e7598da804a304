"""The final numbers of a run."""

from __future__ import annotations

import resource
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import torch

from framework import checkpoint
from framework.alarm import Watch
from framework.prepare import Prepared
from framework.run_directory import RunDirectory

if TYPE_CHECKING:
    from framework.module import Module


def summarize(prepared: Prepared, directory: RunDirectory, module: Module, watch: Watch) -> dict[str, Any]:
    """Return what summary.json holds, but for the wall time; the test metrics are the last that were recorded.

    Times are in seconds, `training_seconds` over all resumptions; memory in bytes, of this process. `warnings` are the
    alarms that stand at the end.
    """
    position = module.position
    counters = position.counters
    amount = prepared.experience.amount(counters)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "name": prepared.recipe.name,
        "id": directory.id,
        "seed": prepared.recipe.seed,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "weights": checkpoint.BEST if prepared.built.trainer.keeps_best else checkpoint.LAST,
        **prepared.experience.axes(counters),
        **_last_metrics(directory.records()),
        f"throughput/{prepared.experience.unit}_per_second": amount / max(position.seconds, 1e-9),
        "training_seconds": round(position.seconds, 3),
        "peak_memory_bytes": peak,
        "peak_device_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0,
        "fallbacks": list(prepared.experience.source.fallbacks),
        "warnings": watch.standing(),
    }


def _last_metrics(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return each split's latest metrics; the test's last, as a reader expects them."""
    latest = {record["split"]: record for record in records}
    return {
        name: value
        for split in ("train", "validation", "evaluation", "test")
        for name, value in latest.get(split, {}).items()
        if name.startswith(f"{split}/")
    }
