"""Groups of runs in processes that are forked from a warm one, and whose runs are forked from them.

What runs is the command line's own path; only the starts of an interpreter, seconds each, are left out.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.framework.interruption import begin, quiet


def begin_group(folder: Path, *arguments: str) -> BaseProcess:
    """Start `fw` with these arguments in a folder, where it leaves `stdout` and `stderr`."""
    return begin(_command_line, folder, arguments)


def begin_stand_ins(folder: Path, program: Path) -> BaseProcess:
    """Start a group of two seeds, at once, whose interpreter is a program that stands in for Python."""
    return begin(_stand_ins, folder, program)


class Fork:
    """A run that is forked from its group, in place of `framework.seeds.start`."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str], stderr: Path) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            # Not the pipe of LIFELINE: a fork has the group's end of it too, and would never see it close.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            _be_fw(arguments)

    def poll(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _command_line(folder: Path, arguments: Sequence[str]) -> None:
    from framework import seeds

    quiet()
    os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    seeds.start = Fork
    _be_fw(arguments)


def _be_fw(arguments: Sequence[str]) -> None:
    from framework import cli

    sys.argv = ["fw", *arguments]
    _end_with(cli.main)


def _end_with(call: Callable[[], object]) -> None:
    """End this process as Python would after a call, without what the parent left for its own exit."""
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


def _stand_ins(folder: Path, program: Path) -> None:
    from framework import seeds
    from framework.group_directory import GroupDirectory
    from tests.framework.interruption import console

    sys.executable = str(program)
    group = seeds.Group(GroupDirectory(folder), [0, 1], folder, [], [])
    seeds.run_group(group, console(), jobs=2)
