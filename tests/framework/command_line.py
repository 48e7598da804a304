"""Command lines in processes that are forked from a warm one, and whose ranks are forked from them.

What runs is the command line's own path, from `framework.cli.main` with its arguments to the exit code. Only the two
starts of an interpreter, seconds each, are left out.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.framework.interruption import begin, on_call, quiet, start, wait_for


@dataclass(frozen=True)
class Cause:
    """What happens to one of several ranks.

    Args:
        deed: of `DEEDS`.
        rank: to whom.
        place: where, of `_ARM`.
    """

    deed: str
    rank: int
    place: str


@dataclass(frozen=True)
class Ended:
    """What a command left behind.

    Args:
        code: its exit code.
        stdout: lines of it.
        stderr: lines of it.
        ranks: the processes that it started, by rank.
        seconds: from the cause to the end of the last process; 0 where there was none.
    """

    code: int
    stdout: list[str]
    stderr: list[str]
    ranks: list[int]
    seconds: float


def fw(folder: Path, *arguments: str, cause: Cause | None = None) -> Ended:
    """Run a command line in a folder, and wait for its end.

    Args:
        folder: where it runs; it is made, and what the command writes is kept in it.
        arguments: of the command line.
        cause: what ends one of its ranks.
    """
    return _ended(folder, start(_command_line, folder, arguments, cause, {}))


def fw_as_tasks(folder: Path, *arguments: str, variables: Sequence[Mapping[str, str]]) -> list[Ended]:
    """Run a command line several times at once, as srun does.

    Args:
        folder: where the tasks run, each in a folder `0`, `1`, … of its own.
        arguments: of the command line.
        variables: of the environment, for each task.
    """
    folders = [folder / str(task) for task in range(len(variables))]
    processes = [
        begin(_command_line, one, arguments, None, dict(theirs)) for one, theirs in zip(folders, variables, strict=True)
    ]
    return [_ended(one, wait_for(process)) for one, process in zip(folders, processes, strict=True)]


def _ended(folder: Path, code: int) -> Ended:
    struck = folder / "struck"
    seconds = time.time() - float(struck.read_text()) if struck.exists() else 0.0
    stdout, stderr = ((folder / name).read_text().splitlines() for name in ("stdout", "stderr"))
    ranks = [int(path.read_text()) for path in sorted(folder.glob("rank-*"))]
    return Ended(code, stdout, stderr, ranks, seconds)


def left_of(ranks: Sequence[int]) -> list[str]:
    """Return what /proc knows of processes, of their children and of all in their sessions, but not of dead ones."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since the folder was read
            continue
        state, parent, _, session = text.rpartition(")")[2].split()[:4]
        if state != "Z" and {int(path.parent.name), int(parent), int(session)} & set(ranks):
            found.append(text)
    return found


class Fork:
    """A rank that is forked from its supervisor, in place of `framework.supervisor.command`.

    Args:
        cause: what ends one of the ranks.
        rank: the number of this one.
        environment: its environment, of `supervise`.
    """

    def __init__(self, cause: Cause | None, rank: int, environment: dict[str, str]) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _end_with(lambda: _rank(cause, rank, environment))
        Path(f"rank-{rank}").write_text(str(self.pid))

    def poll(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _command_line(folder: Path, arguments: Sequence[str], cause: Cause | None, environment: Mapping[str, str]) -> None:
    """Be `fw` with these arguments."""
    from framework import cli, supervisor

    quiet()
    os.environ.update(environment)
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["fw", *arguments]
    supervisor.command = lambda rank, environment: Fork(cause, rank, environment)  # type: ignore[assignment,return-value]
    _end_with(cli.main)


def _rank(cause: Cause | None, rank: int, environment: dict[str, str]) -> None:
    from framework import cli
    from framework.supervisor import become_rank, stderr_file

    become_rank(environment)
    if rank != 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        kept = stderr_file(Path(environment["TORCHELASTIC_ERROR_FILE"]))
        os.dup2(os.open(kept, os.O_WRONLY | os.O_CREAT), 2)
    if cause is not None:
        _ARM[cause.place](rank, cause.rank, _DEEDS[cause.deed])
    cli.main()


def _end_with(call: Callable[[], object]) -> None:
    """End this process as Python would after a call, without what the parent left for its own exit."""
    import traceback

    try:
        call()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _struck(deed: Callable[[], object]) -> Callable[[], None]:
    """Return a deed that notes when it was done."""

    def strike() -> None:
        Path("now").write_text(repr(time.time()))
        Path("now").rename("struck")
        deed()

    return strike


def _raise() -> None:
    raise LookupError("nothing was found")


_DEEDS: dict[str, Callable[[], None]] = {
    "an exception": _struck(_raise),
    "an exit": _struck(lambda: os._exit(3)),
    "SIGKILL": _struck(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "SIGTERM": _struck(lambda: os.kill(os.getpid(), signal.SIGTERM)),
}
DEEDS = list(_DEEDS)


def _before_training(rank: int, chosen: int, deed: Callable[[], None]) -> None:
    from framework import run as running

    if rank == chosen:
        on_call(running, "_lightning", 1, deed)


def _in_a_training_step(rank: int, chosen: int, deed: Callable[[], None]) -> None:
    from framework.optimizer import Optimizer

    if rank == chosen:
        on_call(Optimizer, "step", 27, deed)


def _in_validation(rank: int, chosen: int, deed: Callable[[], None]) -> None:
    from framework.learners.latent import Latent
    from framework.module import Module

    if rank == chosen:
        on_call(Module, "evaluate", 2, lambda: on_call(Latent, "evaluate", 1, deed))


def _while_a_checkpoint_is_saved(rank: int, chosen: int, deed: Callable[[], None]) -> None:
    from framework import checkpoint
    from framework.module import Module

    def wait_for_the_first() -> None:
        while not Path("saving").exists():
            time.sleep(0.005)
        deed()

    if rank == chosen == 0:
        on_call(checkpoint, "_manifest", 3, deed)  # the bytes are on the disk, and no name has moved yet
    elif rank == 0:
        on_call(checkpoint, "_manifest", 3, lambda: (Path("saving").touch(), time.sleep(0.3)))
    elif rank == chosen:
        on_call(Module, "_save_checkpoint", 3, wait_for_the_first)


_ARM: dict[str, Callable[[int, int, Callable[[], None]], None]] = {
    "before training": _before_training,
    "in a training step": _in_a_training_step,
    "in validation": _in_validation,
    "while a checkpoint is saved": _while_a_checkpoint_is_saved,
}
