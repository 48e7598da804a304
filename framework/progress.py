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

from framework.examples import Examples
from framework.prepare import Prepared
from framework.run_directory import RunDirectory
from framework.schedule import Counters

# The bar is drawn when a record comes, and not by a thread that would take time from training.
REDRAW_SECONDS = 0.25
PERFORMANCE = ("return", "reward", "optimal")  # what an agent is for


class ProgressReport:
    """Reports a run to a console and to log.txt.

    Args:
        console: where to; its `is_terminal` decides between a bar and plain lines.
        log: the log file, appended to.
        prepared: what is trained, for how far it is and the time left.
        start: the counters that the run goes on from.
        spent: seconds of training before it.
    """

    def __init__(self, console: Console, log: Path, prepared: Prepared, start: Counters, spent: float) -> None:
        self.console = console
        self._log = log.open("a", encoding="utf-8")
        self._limits, self._experience = prepared.built.trainer, prepared.experience
        self._start, self._spent = prepared.experience.axes(start), spent
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
        self._task: TaskID = self._bar.add_task("", total=1.0, text="", visible=False)

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
        elif record["split"] == self._experience.judged_on:
            self.say(self._line(record))

    def _draw(self, record: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        if self._bar.disable or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        stage, done = self._stage(record)
        text = f"{_parts('train', record)}  {self._rate(record)}  {self._left(record)}"
        self._bar.update(self._task, description=stage, completed=done, text=text, visible=True)
        self._bar.refresh()

    def _line(self, record: Mapping[str, Any]) -> str:
        fields = [stage] if (stage := self._stage(record)[0]) else []
        fields.append(f"step {record['step']}")
        if self._train:
            fields.append(f"train {_parts('train', self._train)}")
        split = self._experience.judged_on
        fields.append(f"{split} {_parts(split, record)}")
        if self._train:
            fields.append(self._rate(self._train))
        return " | ".join([*fields, self._left(record)])

    def _stage(self, record: Mapping[str, Any]) -> tuple[str, float]:
        """Return where the run is, in words, and how much of the bar that is."""
        if isinstance(self._experience, Examples):
            epoch, step = divmod(record["step"] - 1, self._experience.steps_per_epoch)
            total = f"/{self._limits.max_epochs}" if self._limits.max_epochs else ""
            return f"epoch {epoch + 1}{total}", (step + 1) / self._experience.steps_per_epoch
        ends = (self._limits.max_env_steps, self._limits.max_episodes)
        steps, episodes = (f" of {end:,}" if end else "" for end in ends)
        words = [f"{record['env_steps']:,}{steps} environment steps"] if record["env_steps"] else []
        words += [f"episode {record['episodes']:,}{episodes}"] if record["episodes"] else []
        return ", ".join(words), max((self._reached(record, *end) for end in self._ends()), default=0.0)

    def _ends(self) -> list[tuple[str, int]]:
        """Return the axes on which training ends, and where."""
        limits, ends = self._limits, []
        if limits.max_epochs and isinstance(self._experience, Examples):
            ends.append(("step", limits.max_epochs * self._experience.steps_per_epoch))
        named = (("step", limits.max_steps), ("env_steps", limits.max_env_steps), ("episodes", limits.max_episodes))
        return [*ends, *((axis, end) for axis, end in named if end)]

    def _reached(self, record: Mapping[str, Any], axis: str, end: int) -> float:
        """Return the share of what this session has to do that is done."""
        start = self._start[axis]
        done: int = record[axis] - start
        return min(1.0, done / max(end - start, 1))

    def _left(self, record: Mapping[str, Any]) -> str:
        elapsed = time.perf_counter() - self._started
        shares = [self._reached(record, *end) for end in self._ends()]
        left = [elapsed * (1 - share) / share for share in shares if share > 0]
        if self._limits.max_time:
            left.append(60 * self._limits.max_time - self._spent - elapsed)
        return f"{timedelta(seconds=max(0, round(min(left))))} left" if left else ""

    def _rate(self, record: Mapping[str, Any]) -> str:
        unit = self._experience.unit
        return f"{record[f'throughput/{unit}_per_second']:,.0f} {unit.removeprefix('env_')}/s"


def _parts(split: str, record: Mapping[str, Any]) -> str:
    """Return "104.21 = reconstruction 82.10, kl 22.11", with the ELBO where there is one."""
    values = {name.removeprefix(f"{split}/"): value for name, value in record.items() if name.startswith(f"{split}/")}
    objective = values.pop("objective", None)
    parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return parts if objective is None else f"objective {objective:.5g} ({parts})"


def announce(
    report: ProgressReport, prepared: Prepared, directory: RunDirectory, device: torch.device, step: int
) -> None:
    """Say what is about to be trained, on what, and everything that is not as asked for."""
    recipe, source = prepared.recipe, prepared.experience.source
    for sentence in source.fallbacks:
        report.warn(sentence)
    for plugin in prepared.broken:
        report.warn(str(plugin))
    parameters = sum(parameter.numel() for parameter in prepared.built.learner.parameters())
    where = device.type if prepared.processes == 1 else f"{prepared.processes} processes, {device.type}"
    report.say(f"{recipe.name}, seed {recipe.seed}, on {where}: {parameters:,} parameters", "bold")
    report.say(f"{'data' if recipe.data else 'environment'}: {source.description}, from {source.location}")
    if prepared.built.learner.formula:
        report.say(f"objective: {prepared.built.learner.formula}")
    for note in prepared.notes:
        report.say(f"note: {note}")
    report.say(f"{'run' if step == 0 else f'going on at step {step} of run'}: {directory.path}")


def report_end(report: ProgressReport, summary: Mapping[str, Any], directory: RunDirectory) -> None:
    """Say the test's numbers, or the last of training; the speed, and once more what was not as asked for."""
    tested = [name for name in summary if name.startswith("test/")]
    for name in tested or [f"train/{name}" for name in PERFORMANCE if f"train/{name}" in summary]:
        error = None if tested else summary.get(f"{name}_standard_error")
        report.say(f"{name:<28}{summary[name]:>12.4f}" + ("" if error is None else f" ± {error:.4f} (standard error)"))
    for name, value in summary.items():
        if name.startswith("throughput/"):
            report.say(f"{name.removeprefix('throughput/').replace('_', ' '):<28}{value:>12,.0f}")
    for sentence in (*summary["fallbacks"], *summary["warnings"]):
        report.warn(sentence)
    report.say(f"run: {directory.path}", "bold")
