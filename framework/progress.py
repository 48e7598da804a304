"""What a person sees of a run: a bar and a line an epoch on a terminal, plain lines in a pipe, all of it in log.txt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from framework.prepare import Prepared, objectives
from framework.run_directory import RunDirectory
from framework.trainer import Trainer

# The bar is drawn when a record comes, and not by a thread that would take time from training.
REDRAW_SECONDS = 0.25


class ProgressReport:
    """Reports a run to a console and to log.txt.

    Args:
        console: where to; its `is_terminal` decides between a bar and plain lines.
        log: the log file, appended to.
        limits: what training ends at, for the time left.
        steps_per_epoch: optimiser steps in an epoch.
        start_step: the optimiser step that the run goes on from.
        spent: seconds of training before it.
    """

    def __init__(
        self, console: Console, log: Path, limits: Trainer, steps_per_epoch: int, start_step: int, spent: float
    ) -> None:
        self.console = console
        self._log = log.open("a", encoding="utf-8")
        self._limits, self._steps_per_epoch, self._start_step = limits, steps_per_epoch, start_step
        self._spent = spent
        self._started = self._drawn = time.perf_counter()
        self._train: Mapping[str, Any] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[text]}"),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("", total=steps_per_epoch, text="", visible=False)

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._log.close()

    def say(self, text: str, style: str = "") -> None:
        """Print a line, and log it."""
        self.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        self._log.write(text + "\n")
        self._log.flush()

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}", "bold yellow")

    def record(self, record: Mapping[str, Any]) -> None:
        """Show a record of metrics."""
        if record["split"] == "train":
            self._train = record
            self._draw(record)
        elif record["split"] == "validation":
            self.say(self._line(record))

    def _draw(self, record: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        if self._bar.disable or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        done = record["step"] % self._steps_per_epoch or self._steps_per_epoch
        text = f"{_parts('train', record)}  {_rate(record)}  {self._left(record['step'])}"
        self._bar.update(
            self._task, description=self._epoch(record["step"] - 1), completed=done, text=text, visible=True
        )
        self._bar.refresh()

    def _line(self, record: Mapping[str, Any]) -> str:
        fields = [self._epoch(record["step"] - 1), f"step {record['step']}"]
        if self._train:
            fields.append(f"train {_parts('train', self._train)}")
        fields.append(f"validation {_parts('validation', record)}")
        if self._train:
            fields.append(_rate(self._train))
        return " | ".join([*fields, self._left(record["step"])])

    def _epoch(self, step: int) -> str:
        total = f"/{self._limits.max_epochs}" if self._limits.max_epochs else ""
        return f"epoch {step // self._steps_per_epoch + 1}{total}"

    def _left(self, step: int) -> str:
        elapsed = time.perf_counter() - self._started
        taken = step - self._start_step
        ends = []
        if self._limits.max_epochs:
            ends.append((self._limits.max_epochs * self._steps_per_epoch - step) * elapsed / max(taken, 1))
        if self._limits.max_steps:
            ends.append((self._limits.max_steps - step) * elapsed / max(taken, 1))
        if self._limits.max_time:
            ends.append(60 * self._limits.max_time - self._spent - elapsed)
        return f"{timedelta(seconds=max(0, round(min(ends))))} left"


def _parts(split: str, record: Mapping[str, Any]) -> str:
    """Return "104.21 = reconstruction 82.10, kl 22.11", with the ELBO where there is one."""
    values = {name.removeprefix(f"{split}/"): value for name, value in record.items() if name.startswith(f"{split}/")}
    objective = values.pop("objective", None)
    parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return parts if objective is None else f"objective {objective:.5g} ({parts})"


def _rate(record: Mapping[str, Any]) -> str:
    return f"{record['throughput/examples_per_second']:,.0f} examples/s"


def announce(
    report: ProgressReport, prepared: Prepared, directory: RunDirectory, device: torch.device, step: int
) -> None:
    """Say what is about to be trained, on what, and everything that is not as asked for."""
    recipe, dataset = prepared.recipe, prepared.dataset
    for sentence in dataset.source.fallbacks:
        report.warn(sentence)
    for plugin in prepared.broken:
        report.warn(str(plugin))
    parameters = sum(parameter.numel() for parameter in prepared.built.learner.parameters())
    where = device.type if prepared.processes == 1 else f"{prepared.processes} processes, {device.type}"
    report.say(f"{recipe.name}, seed {recipe.seed}, on {where}: {parameters:,} parameters", "bold")
    report.say(f"data: {dataset.source.description}, from {dataset.source.location}")
    for objective in objectives(prepared.built.learner):
        report.say(f"objective: {objective.formula('reconstruction')}")
    for note in prepared.notes:
        report.say(f"note: {note}")
    report.say(f"{'run' if step == 0 else f'going on at step {step} of run'}: {directory.path}")


def report_end(report: ProgressReport, summary: Mapping[str, Any], directory: RunDirectory) -> None:
    """Say the test's numbers, the speed, and once more what was not as asked for."""
    for name, value in summary.items():
        if name.startswith("test/"):
            report.say(f"{name:<28}{value:>12.4f}")
    report.say(f"{'examples per second':<28}{summary['throughput/examples_per_second']:>12,.0f}")
    for sentence in summary["fallbacks"]:
        report.warn(sentence)
    report.say(f"run: {directory.path}", "bold")
