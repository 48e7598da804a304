"""Training a prepared recipe: the run directory, Lightning, and what happens when training ends."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from framework import checkpoint
from framework.build import Built
from framework.environment import describe_environment
from framework.figures import draw
from framework.learning_curves import draw_learning_curves
from framework.prepare import Prepared
from framework.progress import ProgressReport, announce, report_end
from framework.run_directory import MetricsFile, RunDirectory
from framework.schema import Recipe
from framework.signals import StopRequest, stop_on_signals
from framework.summary import summarize
from framework.tracking import Tracker

if TYPE_CHECKING:
    from pytorch_lightning import Trainer as LightningTrainer

    from framework.module import Module


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        directory: its run directory.
        summary: the content of summary.json; None when the run was stopped before its end.
    """

    directory: Path
    summary: dict[str, Any] | None


def run(prepared: Prepared, root: Path, console: Console) -> Outcome:
    """Train a prepared recipe in a new run directory below `root`."""
    directory = RunDirectory.create(root, prepared.recipe.name)
    return train(prepared, directory, console, state=None, sessions=[])


def train(
    prepared: Prepared,
    directory: RunDirectory,
    console: Console,
    *,
    state: dict[str, Any] | None,
    sessions: list[dict[str, Any]],
) -> Outcome:
    """Train until the end or a signal, and conclude the run if it is the end.

    Args:
        prepared: what is trained.
        directory: the run's.
        console: where progress is shown.
        state: the checkpoint to go on from; None starts.
        sessions: the environments of the run's sessions before this one.
    """
    started = time.perf_counter()
    step = state["position"]["counters"]["optimizer_steps"] if state else 0
    spent = state["position"]["seconds"] if state else 0.0
    stop = StopRequest()
    with (
        MetricsFile(directory.metrics, state["metrics_size"] if state else 0) as metrics,
        ProgressReport(console, directory.log, prepared.built.trainer, prepared.steps_per_epoch, step, spent) as report,
        stop_on_signals(stop),
    ):
        directory.summary.unlink(missing_ok=True)
        directory.write_recipe(prepared.recipe.plain())
        lightning = _lightning(prepared.built)
        device = lightning.strategy.root_device
        directory.write_environment([*sessions, describe_environment(prepared, device, step)])
        announce(report, prepared, directory, device, step)
        with _tracking(directory, prepared.recipe, report.warn) as tracker:
            module = _module(prepared, directory, state, metrics, tracker, report, stop)
            _fit(lightning, module)
            if stop.signal:
                module.save_if_behind()
                report.say(f"stopped by {stop.signal.name}; go on with: fw resume {directory.path}")
                return Outcome(directory.path, None)
            module.to(device)
            summary = summarize(prepared, directory, module)
            tracker.images(_draw(prepared, directory))
            summary["wall_time_seconds"] = round(time.perf_counter() - started, 3)
            directory.write_json(directory.summary, summary)
            tracker.finish(summary)
        report_end(report, summary, directory)
    return Outcome(directory.path, summary)


def _module(
    prepared: Prepared,
    directory: RunDirectory,
    state: dict[str, Any] | None,
    metrics: MetricsFile,
    tracker: Tracker,
    report: ProgressReport,
    stop: StopRequest,
) -> Module:
    # Lightning takes seconds to import: `fw check`, `list` and `show` do without.
    from framework.module import Module, Position, Record

    def record(values: Record) -> None:
        metrics.append(values)
        tracker.log(values)
        report.record(values)

    def save(best: bool) -> None:
        state = {**module.state(), "metrics_size": metrics.sync(), "recipe": prepared.recipe.plain()}
        checkpoint.save(state, directory.checkpoints, best=best)

    module = Module(
        learner=prepared.built.learner,
        dataset=prepared.dataset,
        batch_size=prepared.batch_size,
        trainer=prepared.built.trainer,
        seed=prepared.recipe.seed,
        position=Position.of(state["position"]) if state else Position(),
        optimizer_states=state["optimizers"] if state else {},
        record=record,
        save=save,
        stopping=lambda: bool(stop),
    )
    return module


def _fit(lightning: LightningTrainer, module: Module) -> None:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    if module.is_finished():  # killed after the last checkpoint: what is left is the test
        return
    # A SIGTERM is heard by our handler and by Lightning's, which raises at the end of the chunk.
    with warnings.catch_warnings(), suppress(SIGTERMException):
        # Lightning 2.6 uses a spelling that torch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
        lightning.fit(module, train_dataloaders=module.batches)


@contextmanager
def _tracking(directory: RunDirectory, recipe: Recipe, warn: Callable[[str], None]) -> Iterator[Tracker]:
    """Mirror the run while inside; one that ends by an exception is marked as failed."""
    tracker = Tracker(
        directory.path,
        project="fw",
        run_id=directory.id,
        name=f"{recipe.name}/{directory.id}",
        config=recipe.plain(),
        warn=warn,
    )
    try:
        yield tracker
    except BaseException:
        tracker.finish({}, exit_code=1)
        raise
    tracker.finish({})  # for a run that was stopped; one that is done has said its summary already


def _draw(prepared: Prepared, directory: RunDirectory) -> list[Path]:
    curves = draw_learning_curves(directory.records(), directory.figures)
    return [*([curves] if curves else []), *draw(prepared.built.learner, prepared.dataset, directory.figures)]


def _lightning(built: Built) -> LightningTrainer:
    """Return Lightning's trainer with everything switched off that this framework does itself."""
    from pytorch_lightning import Trainer as LightningTrainer

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its tips and its device table
    accelerator = built.trainer.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    return LightningTrainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=-1,  # when training ends is for the module to say
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
