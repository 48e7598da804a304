"""Running a recipe: training, the run directory; and going on where a run was cut off."""

from __future__ import annotations

import logging
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from framework import checkpoint
from framework.build import Built
from framework.data import DataError
from framework.environment import describe_environment
from framework.errors import Problem, RecipeError
from framework.figures import draw
from framework.learning_curves import draw_learning_curves
from framework.prepare import Prepared, objectives, prepare
from framework.progress import ProgressReport
from framework.run_directory import MetricsFile, RunDirectory
from framework.schema import Recipe
from framework.signals import StopRequest, stop_on_signals
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
    directory.write_recipe(prepared.recipe.plain())
    return _train(prepared, directory, console, state=None, history=[])


def resume(path: Path, overrides: Sequence[str], data_directory: Path, console: Console) -> Outcome:
    """Go on with a run from its last whole checkpoint.

    Args:
        path: the run directory.
        overrides: `key.path=value`, such as `trainer.max_epochs=50`; the data stay what they are.
        data_directory: where the data are looked for.
        console: where progress is shown.

    Raises:
        RecipeError: there is no such run, or an override is wrong.
        CheckpointError: no checkpoint can be read.
    """
    directory = RunDirectory(path)
    if not directory.environment.is_file():
        raise RecipeError([Problem(f"{path}: no run directory", expected="a directory that `fw run` made")])
    if fixed := [
        override for override in overrides if override.split("=")[0].split(".")[0] in ("data", "seed", "name")
    ]:
        problem = Problem(
            "a resumed run keeps its name, its seed and its data", found=fixed[0], write="a new run: fw run"
        )
        raise RecipeError([problem])
    notices: list[str] = []
    state = checkpoint.load_last(directory.checkpoints, notices.append)
    environment = directory.read_json(directory.environment)
    plugins = [Path(plugin["file"]) for plugin in environment["plugins"]]
    prepared = prepare(directory.recipe, overrides, plugins, data_directory)
    prepared.notes.extend(notices)
    try:
        prepared.built.learner.load_state_dict(state["learner"])
    except RuntimeError as error:
        message = "the checkpoint does not fit the recipe: " + " ".join(str(error).split())
        raise RecipeError([Problem(message, expected="overrides that leave the networks as they are")]) from error
    if prepared.dataset.source.sha256 != environment["data"]["sha256"]:
        raise DataError(
            f"the run's data came from {environment['data']['location']}; what is found now, at "
            f"{prepared.dataset.source.location}, is not the same"
        )
    directory.write_recipe(prepared.recipe.plain())
    directory.summary.unlink(missing_ok=True)
    again = {"at": _now(), "step": state["position"]["counters"]["optimizer_steps"], "overrides": list(overrides)}
    return _train(prepared, directory, console, state=state, history=[*environment["resumed"], again])


def _train(
    prepared: Prepared,
    directory: RunDirectory,
    console: Console,
    *,
    state: dict[str, Any] | None,
    history: list[dict[str, Any]],
) -> Outcome:
    """Train from a checkpoint's state, or from the start, and conclude the run if nobody stops it."""
    started = time.perf_counter()
    step = state["position"]["counters"]["optimizer_steps"] if state else 0
    stop = StopRequest()
    with (
        MetricsFile(directory.metrics, state["metrics_size"] if state else 0) as metrics,
        ProgressReport(
            console,
            directory.log,
            limits=prepared.built.trainer,
            steps_per_epoch=prepared.steps_per_epoch,
            start_step=step,
        ) as report,
        stop_on_signals(stop),
    ):
        lightning = _lightning(prepared.built)
        device = lightning.strategy.root_device
        environment = _environment(prepared, device)
        directory.write_json(directory.environment, {**environment, "resumed": history})
        _announce(report, prepared, directory, device, step)
        with _tracking(directory, prepared.recipe, report.warn) as tracker:
            module = _module(prepared, directory, state, metrics, tracker, report, stop)
            _fit(lightning, module)
            if stop.signal:
                report.say(f"stopped by {stop.signal.name}; go on with: fw resume {directory.path}")
                return Outcome(directory.path, None)
            module.to(device)
            summary = _conclude(prepared, directory, module)
            tracker.images(_draw(prepared, directory))
            summary["wall_time_seconds"] = round(time.perf_counter() - started, 3)
            directory.write_json(directory.summary, summary)
            tracker.finish(summary)
        _report_end(report, summary, directory)
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
        checkpoint.save({**module.state(), "metrics_size": metrics.sync()}, directory.checkpoints, best=best)

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
    # A SIGTERM is heard by our handler and by Lightning's, which raises once the module has saved and stopped.
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


def _conclude(prepared: Prepared, directory: RunDirectory, module: Module) -> dict[str, Any]:
    """Measure the test set, once, and return the summary."""
    weights = checkpoint.LAST
    if prepared.built.trainer.early_stopping is not None:
        weights = checkpoint.BEST  # the last weights are those that patience ran out on
        module.learner.load_state_dict(checkpoint.load(directory.checkpoints / weights)["learner"])
    module.test()
    position = module.position
    counters = position.counters
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    return {
        "name": prepared.recipe.name,
        "id": directory.id,
        "seed": prepared.recipe.seed,
        "finished": _now(),
        "weights": weights,
        "epoch": counters.epoch,
        "step": counters.optimizer_steps,
        "samples": counters.samples,
        **_last_metrics(directory.records()),
        "throughput/examples_per_second": counters.samples / max(position.seconds, 1e-9),
        "training_seconds": round(position.seconds, 3),
        "peak_memory_bytes": peak,
        "peak_device_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0,
        "fallbacks": list(prepared.dataset.source.fallbacks),
    }


def _last_metrics(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return each split's latest metrics; the test's last, as a reader expects them."""
    latest = {record["split"]: record for record in records}
    return {
        name: value
        for split in ("train", "validation", "test")
        for name, value in latest.get(split, {}).items()
        if name.startswith(f"{split}/")
    }


def _announce(
    report: ProgressReport, prepared: Prepared, directory: RunDirectory, device: torch.device, step: int
) -> None:
    recipe, dataset = prepared.recipe, prepared.dataset
    for sentence in dataset.source.fallbacks:
        report.warn(sentence)
    for plugin in prepared.broken:
        report.warn(str(plugin))
    parameters = sum(parameter.numel() for parameter in prepared.built.learner.parameters())
    report.say(f"{recipe.name}, seed {recipe.seed}, on {device}: {parameters:,} parameters", "bold")
    sizes = f"{len(dataset.train):,} / {len(dataset.validation):,} / {len(dataset.test):,}"
    report.say(f"data: {dataset.source.description} ({sizes}) from {dataset.source.location}")
    for objective in objectives(prepared.built.learner):
        report.say(f"objective: {objective.formula('reconstruction')}")
    for note in prepared.notes:
        report.say(f"note: {note}")
    report.say(f"{'run' if step == 0 else f'going on at step {step} of run'}: {directory.path}")


def _report_end(report: ProgressReport, summary: dict[str, Any], directory: RunDirectory) -> None:
    for name, value in summary.items():
        if name.startswith("test/"):
            report.say(f"{name:<28}{value:>12.4f}")
    report.say(f"{'examples per second':<28}{summary['throughput/examples_per_second']:>12,.0f}")
    for sentence in summary["fallbacks"]:
        report.warn(sentence)
    report.say(f"run: {directory.path}", "bold")


def _environment(prepared: Prepared, device: torch.device) -> dict[str, Any]:
    return describe_environment(
        seed=prepared.recipe.seed,
        device=device,
        source=prepared.dataset.source,
        plugins=prepared.plugins,
        broken=prepared.broken,
        notes=prepared.notes,
    )


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
