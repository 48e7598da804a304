"""Training a prepared recipe: the run directory, Lightning, and what happens when training ends."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from framework import checkpoint
from framework.agent_figures import draw_bandit
from framework.alarm import Watch
from framework.distributed import any_rank, broadcast_module, rank, world_size
from framework.figures import draw
from framework.learning_curves import draw_learning_curves
from framework.position import Position
from framework.prepare import Prepared
from framework.progress import ProgressReport, announce, report_end
from framework.provenance import describe_environment
from framework.run_directory import MetricsFile, RunDirectory
from framework.schedule import Counters
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
        directory: its run directory; None in a process that is not the first of several.
        summary: the content of summary.json (nothing, in such a process); None when the run was stopped before its end.
    """

    directory: Path | None
    summary: dict[str, Any] | None


def run(prepared: Prepared, root: Path, console: Console, path: Path | None = None) -> Outcome:
    """Train a prepared recipe in a new run directory below `root`, or in the directory `path` itself."""
    directory = None
    if rank() == 0:
        directory = RunDirectory.at(path) if path else RunDirectory.create(root, prepared.recipe.name)
    return train(prepared, directory, console, state=None, sessions=[])


def train(
    prepared: Prepared,
    directory: RunDirectory | None,
    console: Console,
    *,
    state: dict[str, Any] | None,
    sessions: list[dict[str, Any]],
) -> Outcome:
    """Train until the end or a signal, and conclude the run if it is the end.

    Of several processes the first keeps the books; all train, and evaluate.

    Args:
        prepared: what is trained.
        directory: the run's, for the process that keeps the books.
        console: where it shows progress.
        state: the checkpoint to go on from; None starts.
        sessions: the environments of the run's sessions before this one.
    """
    stop = StopRequest()
    lightning = _lightning(prepared)
    device = lightning.strategy.root_device
    books = nullcontext() if directory is None else _books(prepared, directory, console, state, sessions, device)
    with stop_on_signals(stop), books as kept:
        module = _module(prepared, state, kept, stop)
        _fit(lightning, module)
        test: dict[str, float] | None = None
        stopped = any_rank([bool(stop)])[0]  # processes that were told at different moments end alike
        if stopped:
            module.save_if_behind()
        else:
            module.to(device)
            _take_best_weights(prepared, directory, module)
            test = module.evaluate("test")
        if kept is None:
            return Outcome(None, None if stopped else {})
        return kept.stopped(stop) if test is None else kept.conclude(module, test)


def _module(
    prepared: Prepared,
    state: dict[str, Any] | None,
    books: _Books | None,
    stop: StopRequest,
) -> Module:
    # Lightning takes seconds to import: `fw check`, `list` and `show` do without.
    from framework.module import Module

    def save(best: bool) -> None:
        if books is not None:
            books.save(module.state(), best)

    if state is not None:
        prepared.experience.restore(state["experience"])
    module = Module(
        learner=prepared.built.learner,
        experience=prepared.experience,
        trainer=prepared.built.trainer,
        seed=prepared.recipe.seed,
        position=Position.of(state["position"]) if state else Position(),
        optimizer_states=state["optimizers"] if state else {},
        record=books.record if books is not None else lambda record: None,
        save=save,
        stop=stop,
    )
    return module


def _take_best_weights(prepared: Prepared, directory: RunDirectory | None, module: Module) -> None:
    if not prepared.built.trainer.keeps_best:
        return
    if directory is not None:  # the last weights are those that patience ran out on
        module.learner.load_state_dict(checkpoint.load(directory.checkpoints / checkpoint.BEST)["learner"])
    broadcast_module(module.learner)


@dataclass(frozen=True)
class _Books:
    """What one process writes for all: records, checkpoints, what a person sees, and the mirror."""

    prepared: Prepared
    directory: RunDirectory
    metrics: MetricsFile
    report: ProgressReport
    tracker: Tracker
    watch: Watch
    sessions: list[dict[str, Any]]  # the environments of all, this one's the last
    started: float

    def record(self, values: dict[str, Any]) -> None:
        self.metrics.append(values)
        self.tracker.log(values)
        self.report.record(values)
        if sentences := self.watch.look(values):
            for sentence in sentences:
                self.report.warn(sentence)
            self.sessions[-1]["warnings"] += sentences
            self.directory.write_environment(self.sessions)

    def save(self, state: dict[str, Any], best: bool) -> None:
        self.directory.write_recipe(self.prepared.recipe.plain())
        whole = {**state, "metrics_size": self.metrics.sync(), "recipe": self.prepared.recipe.plain()}
        checkpoint.save(whole, self.directory.checkpoints, best=best)

    def stopped(self, stop: StopRequest) -> Outcome:
        by = stop.signal.name if stop.signal else "a signal to another process"
        self.report.say(f"stopped by {by}; go on with: fw resume {self.directory.path}")
        return Outcome(self.directory.path, None)

    def conclude(self, module: Module, test: dict[str, float]) -> Outcome:
        self.directory.write_recipe(self.prepared.recipe.plain())  # no checkpoint does, where nothing was left to train
        if test:
            module.emit("test", test)
        summary = summarize(self.prepared, self.directory, module, self.watch)
        self.tracker.images(_draw(self.prepared, self.directory))
        summary["wall_time_seconds"] = round(time.perf_counter() - self.started, 3)
        self.directory.write_json(self.directory.summary, summary)
        self.tracker.finish(summary)
        report_end(self.report, summary, self.directory)
        return Outcome(self.directory.path, summary)


@contextmanager
def _books(
    prepared: Prepared,
    directory: RunDirectory,
    console: Console,
    state: dict[str, Any] | None,
    sessions: list[dict[str, Any]],
    device: torch.device,
) -> Iterator[_Books]:
    """Open the run's files and its mirror, and say what is about to be trained."""
    started = time.perf_counter()
    start = Counters(**state["position"]["counters"]) if state else Counters()
    step = start.optimizer_steps
    spent = state["position"]["seconds"] if state else 0.0
    with (
        MetricsFile(directory.metrics, state["metrics_size"] if state else 0) as metrics,
        ProgressReport(console, directory.log, prepared, start, spent) as report,
    ):
        directory.summary.unlink(missing_ok=True)
        if state is None:  # otherwise with its first checkpoint: what fails before it leaves a recipe that fits
            directory.write_recipe(prepared.recipe.plain())
        sessions = [*sessions, describe_environment(prepared, device, step)]
        directory.write_environment(sessions)
        announce(report, prepared, directory, device, step)
        # The metrics file has just been cut to what the checkpoint knows: the past that this session goes on from.
        watch = Watch(prepared.built.learner.alarms, prepared.experience.judged_on, directory.records())
        with _tracking(directory, prepared.recipe, report.warn) as tracker:
            yield _Books(prepared, directory, metrics, report, tracker, watch, sessions, started)


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
        group=directory.group,
    )
    try:
        yield tracker
    except BaseException:
        if world_size() == 1:  # of several, the others wait: the mirror notices by itself that this process is gone
            tracker.finish({}, exit_code=1)
        raise
    tracker.finish({})  # for a run that was stopped; one that is done has said its summary already


def _draw(prepared: Prepared, directory: RunDirectory) -> list[Path]:
    records = directory.records()
    curves = [draw_learning_curves(records, directory.figures), draw_bandit(records, directory.figures)]
    return [*(each for each in curves if each), *draw(prepared.built.learner, prepared.experience, directory.figures)]


def _fit(lightning: LightningTrainer, module: Module) -> None:
    from framework.module import Turns

    if module.is_finished() and not module.position.is_unjudged:  # what is left is the test
        return
    with warnings.catch_warnings():
        # Lightning 2.6 uses a spelling that torch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
        lightning.fit(module, train_dataloaders=Turns())


def _lightning(prepared: Prepared) -> LightningTrainer:
    """Return Lightning's trainer with everything switched off that this framework does itself."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from pytorch_lightning import Trainer as LightningTrainer
    from pytorch_lightning.plugins import MixedPrecision
    from pytorch_lightning.strategies import DDPStrategy

    limits = prepared.built.trainer
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its tips and its device table
    plugins: list[Any] = []
    if limits.precision in ("bf16-mixed", "16-mixed"):
        device = "cuda" if limits.on_gpu else "cpu"
        # Lightning's one scaler would serve a model and its critics alike: each optimiser has its own.
        scaler = torch.amp.GradScaler(device, enabled=False) if limits.precision == "16-mixed" else None
        plugins.append(MixedPrecision(limits.precision, device, scaler))
    several = world_size() > 1
    # Left to itself Lightning takes a job script's own process for one of SLURM's tasks.
    plugins.append(TorchElasticEnvironment() if several else LightningEnvironment())
    trainer = LightningTrainer(
        accelerator="gpu" if limits.on_gpu else "cpu",
        devices=world_size() // limits.num_nodes,
        num_nodes=limits.num_nodes,
        strategy=DDPStrategy(find_unused_parameters=prepared.leaves_out) if several else "auto",
        plugins=plugins,
        max_epochs=-1,  # when training ends is for the module to say
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    return trainer
