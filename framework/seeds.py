"""One recipe, several seeds: a group of runs that differ in nothing else, each in a process of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from framework.document import dump_document
from framework.errors import Problem, RecipeError
from framework.group_curves import draw_group_curves
from framework.group_directory import GroupDirectory
from framework.group_summary import caution, gaps, headline, summarize_group, table
from framework.launch import LIFELINE, place
from framework.prepare import prepare
from framework.schema import load_recipe
from framework.signals import STOPPED, StopRequest, stop_on_signals

INTERVAL = 0.05  # seconds between two looks at the processes
LAST_LINES = 20  # of what a failed process wrote to stderr
FORMS = "whole numbers and ranges of them: 5, or 0,3,7, or 0..9"


class Process(Protocol):
    """A process as `subprocess.Popen` shows it."""

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""

    def send_signal(self, sig: int, /) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True)
class Group:
    """A group that is ready to be run.

    Args:
        directory: the group's; its recipe is written.
        seeds: those to be run, without those of the directory that are not asked for.
        data_directory: where the data are looked for.
        plugins: files that register parts.
        remarks: what a reader of the numbers should know, a sentence each.
    """

    directory: GroupDirectory
    seeds: list[int]
    data_directory: Path
    plugins: list[Path]
    remarks: list[str]


@dataclass(frozen=True)
class GroupOutcome:
    """How a group ended.

    Args:
        summary: the content of its summary.json; None when it was stopped before its end.
        code: 0; 75 when it was stopped; else that of the run that failed first.
    """

    summary: dict[str, Any] | None
    code: int


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that the command line names, in their order.

    Raises:
        RecipeError: they are not whole numbers and ranges, or one is named twice.

    Example:
        >>> parse_seeds("0..2,7")
        [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        named = re.fullmatch(r"\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?", part, re.ASCII)
        if named is None:
            raise RecipeError([Problem("--seeds cannot be read", found=repr(part), expected=FORMS, write="0..9")])
        first, last = int(named[1]), int(named[2] or named[1])
        if last < first:
            problem = Problem("--seeds has a range without a number in it", "", repr(part), FORMS, f"{last}..{first}")
            raise RecipeError([problem])
        seeds += range(first, last + 1)
    if repeated := [seed for seed, count in Counter(seeds).items() if count > 1]:
        message = "--seeds names a seed twice, which would count one run as two"
        raise RecipeError([Problem(message, found=str(repeated[0]), expected="every seed once")])
    return sorted(seeds)


def prepare_group(
    recipe_path: Path,
    overrides: Sequence[str],
    plugins: Sequence[Path],
    data_directory: Path,
    *,
    seeds: str,
    root: Path,
    into: Path | None,
) -> Group:
    """Check a recipe, its data and its parts once for all seeds, and make the group's directory.

    Args:
        recipe_path: the YAML file.
        overrides: `key.path=value`; not the seed.
        plugins: files that register parts.
        data_directory: where the data are looked for.
        seeds: as `parse_seeds` reads them.
        root: where a new group's directory is made, below the recipe's name.
        into: the directory of a group to go on with, in place of a new one.

    Raises:
        RecipeError: the recipe or the seeds are wrong, or the group is one of another recipe.
        DataError: the data cannot be had.
    """
    numbers = parse_seeds(seeds)
    if own := [override for override in overrides if override.split("=")[0] == "seed"]:
        raise RecipeError([Problem("--seeds sets the seeds", found=own[0], expected="one of the two")])
    if place(os.environ) is not None:
        message = (
            "--seeds starts the processes of its runs itself, and a launcher has started this one as one of several"
        )
        raise RecipeError(
            [Problem(message, expected="fw run --seeds … alone", write="srun or torchrun fw run … seed=0")]
        )
    if into is not None and not (into / "recipe.yaml").is_file():
        expected = "a directory that `fw run --seeds` made"
        raise RecipeError([Problem(f"{into}: no directory of a group", expected=expected)])
    prepared = prepare(recipe_path, [*overrides, f"seed={numbers[0]}"], plugins, data_directory)
    plain = prepared.recipe.plain()
    if into is None:
        directory = GroupDirectory.create(root, plain["name"])
        directory.write_recipe(plain)
    else:
        directory = GroupDirectory(into)
        _check_same(plain, directory.recipe)
    remarks = [*(f"warning: {plugin}" for plugin in prepared.broken), *(f"note: {note}" for note in prepared.notes)]
    return Group(directory, numbers, data_directory, list(plugins), remarks)


def run_group(group: Group, console: Console, *, jobs: int) -> GroupOutcome:
    """Run every seed that is not finished, and tell what all of them say together.

    What was cut off goes on where it was; what failed is tried again from its last checkpoint. A seed that fails stops
    no other. After a first SIGINT or SIGTERM the runs save and end; a second ends all at once.

    Args:
        group: what is run.
        console: where a line a seed and the table at the end are shown.
        jobs: runs at a time.

    Raises:
        OSError: a process could not be started; those before it were ended.
    """
    directory = group.directory
    directory.summary.unlink(missing_ok=True)
    for remark in group.remarks:
        _say(console, remark)
    _say(console, f"group: {directory.path}")
    stop = StopRequest()
    with stop_on_signals(stop), _variables(jobs) as variables:
        ends = _run_all(group, console, stop, jobs, variables)
    unfinished = [seed for seed in group.seeds if directory.summary_of(seed) is None]
    if unfinished and (stop or STOPPED in ends.values()):
        done = len(group.seeds) - len(unfinished)
        _say(console, f"stopped with {done} of {len(group.seeds)} seeds; go on with: {_command_to_go_on(group)}")
        return GroupOutcome(None, STOPPED)
    summary = _conclude(group, console, ends)
    return GroupOutcome(summary, next((code for code in ends.values() if code), 0))


def start(arguments: Sequence[str], variables: Mapping[str, str], stderr: Path) -> Process:
    """Start a command line of ours in a process of its own.

    Args:
        arguments: of `fw`.
        variables: of the environment, beside those of this process, which they do not replace but for LIFELINE.
        stderr: the file that takes what it writes there; what a run prints is in its log.txt.
    """
    lifeline = {LIFELINE: variables[LIFELINE]}
    with stderr.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "framework", *arguments],
            env={**variables, **os.environ, **lifeline},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            pass_fds=[int(variables[LIFELINE])],
            start_new_session=True,  # the terminal's Ctrl-C reaches the group alone, which passes it on
        )


def _check_same(plain: Mapping[str, Any], path: Path) -> None:
    """Raise unless a recipe is the one of a group, but for the seed."""
    ours = load_recipe(path, []).plain()
    if differing := [
        key
        for key in dict.fromkeys([*ours, *plain])
        if key != "seed" and dump_document({key: plain.get(key)}) != dump_document({key: ours.get(key)})
    ]:
        message = "the group is one of another recipe, and its runs may differ in their seeds alone"
        found = f"another {', another '.join(differing)}"
        raise RecipeError([Problem(message, "", found, f"the recipe {path}", "a new group: without --into")])


@contextmanager
def _variables(jobs: int) -> Iterator[dict[str, str]]:
    """Return what the environment of a run has more, and end the runs that are left when this process ends."""
    theirs, ours = os.pipe()  # nothing is written to it: a run sees the end of it, and ends
    threads = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
    try:
        yield {LIFELINE: str(theirs), **threads}
    finally:
        os.close(theirs)
        os.close(ours)


@dataclass(frozen=True)
class _Running:
    seed: int
    process: Process
    started: float


def _run_all(
    group: Group, console: Console, stop: StopRequest, jobs: int, variables: Mapping[str, str]
) -> dict[int, int]:
    """Return the exit codes of the runs that were started, in the order of their ends."""
    waiting = []
    for seed in group.seeds:
        if (summary := group.directory.summary_of(seed)) is None:
            waiting.append(seed)
        else:
            _say(console, f"seed {seed}: {headline(summary)}, finished before")
    running: list[_Running] = []
    ends: dict[int, int] = {}
    told = False
    try:
        while running or (waiting and not stop):
            while waiting and len(running) < jobs and not stop:
                running.append(_start(group, waiting.pop(0), variables))
            if stop and not told:
                assert stop.signal is not None
                for one in running:
                    one.process.send_signal(stop.signal)
                told = True
            for one in list(running):
                if (code := one.process.poll()) is not None:
                    running.remove(one)
                    ends[one.seed] = code if code >= 0 else 128 - code
                    _report(group, console, one, ends[one.seed], told)
            time.sleep(INTERVAL)
    finally:
        for one in running:  # when another could not be started
            one.process.kill()
    return ends


def _start(group: Group, seed: int, variables: Mapping[str, str]) -> _Running:
    run = group.directory.run(seed)
    run.path.mkdir(exist_ok=True)  # a run that fails before it makes its own is still one of the group
    if run.environment.is_file():
        arguments = ["resume", str(run.path)]
    else:
        arguments = ["run", str(group.directory.recipe), f"seed={seed}", "--directory", str(run.path)]
    arguments += ["--data-dir", str(group.data_directory), *_plugin_options(group)]
    return _Running(seed, start(arguments, variables, group.directory.stderr(seed)), time.monotonic())


def _report(group: Group, console: Console, ended: _Running, code: int, told: bool) -> None:
    """Say how a run ended; keep what it wrote to stderr, if that was anything of its own."""
    seed, stderr = ended.seed, group.directory.stderr(ended.seed)
    summary = group.directory.summary_of(seed)
    if summary is not None and code == 0:
        took = f"{time.monotonic() - ended.started:,.0f} s"
        _say(console, f"seed {seed}: {headline(summary)}, {took}")
        if stderr.stat().st_size > 0:
            _say(console, f"warning: seed {seed} had something to say: {stderr}", "bold yellow")
    elif told or code == STOPPED:
        _say(console, f"seed {seed}: stopped")
    else:
        lines = stderr.read_text(errors="replace").splitlines()[-LAST_LINES:]
        print("\n".join([*lines, f"seed {seed}: failed with exit code {code}"]), file=sys.stderr, flush=True)
    if told or stderr.stat().st_size == 0:  # a run that is ended as it starts leaves a traceback
        stderr.unlink()


def _conclude(group: Group, console: Console, ends: Mapping[int, int]) -> dict[str, Any]:
    """Write the group's summary and figure, and show the table."""
    directory = group.directory
    summaries, missing = {}, {}
    for seed in sorted({*group.seeds, *directory.seeds()}):
        found = directory.summary_of(seed)
        if found is not None:
            summaries[seed] = found
        elif code := ends.get(seed):
            missing[seed] = f"it failed with exit code {code}"
        else:
            missing[seed] = "it is not finished, and was not asked for"
    summary = summarize_group(directory.id, summaries, missing)
    draw_group_curves({seed: directory.run(seed).records() for seed in summaries}, directory.figure)
    directory.write_summary(summary)
    if summaries:
        for line in table(summary):
            _say(console, line)
    if sentence := caution(summary):
        _say(console, f"note: {sentence}")
    for sentence in gaps(summary):
        _say(console, f"warning: {sentence}", "bold yellow")
    _say(console, f"group: {directory.path}", "bold")
    return summary


def _command_to_go_on(group: Group) -> str:
    path = group.directory.path
    seeds = ",".join(map(str, group.seeds))
    return shlex.join(
        ["fw", "run", str(group.directory.recipe), "--seeds", seeds, "--into", str(path), *_plugin_options(group)]
    )


def _plugin_options(group: Group) -> list[str]:
    return [word for file in group.plugins for word in ("--plugin", str(file))]


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
