"""The ranks of one training on this machine: started together, watched, and ended together.

The supervisor is the process that the user started. Whatever ends one rank, an exception or a signal, ends all of them
within seconds, and the supervisor's last words are its cause. A rank's part in that is `report_failure` and
`end_with_supervisor` of `framework.launch`.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from framework.launch import LIFELINE, REPORT
from framework.signals import ONE, STOPPED

INTERVAL = 0.05  # seconds between two looks at the ranks
GRACE = 1.5  # seconds that the others have after the first failure, to report theirs
LAST_LINES = 20  # of what a rank wrote to stderr, shown when it ended without a report

# The supervisor's own end of the pipe that LIFELINE names the other end of.
HOLD = "FW_SUPERVISOR_HOLDS"


class Rank(Protocol):
    """A process as `subprocess.Popen` shows it."""

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""

    def send_signal(self, sig: int, /) -> None: ...

    def kill(self) -> None: ...


def supervise(count: int, start: Callable[[int, dict[str, str]], Rank]) -> int:
    """Start the ranks, wait until all have ended, and print last, to stderr, why the first of them failed.

    SIGINT and SIGTERM are passed on, SIGHUP as SIGTERM: the first asks the ranks to save and end, the second ends them
    at once. After a failure the others have 1.5 seconds to report, and are killed then. A rank that ends with 0 or 75
    has not failed, and the others are waited for without a limit: they may be saving.

    The first cause is the earliest failure that is not a lost contact, by the time in its report, or by the moment when
    its end was seen; if all are lost contacts, the earliest.

    Args:
        count: ranks to start.
        start: starts one of them, given its number and its whole environment; `command` or, in tests, a fork.

    Returns:
        0 when all ranks ended with 0; 75 when all ended with 0 or 75, or lost one that did, or after the second
        signal; else the first cause's: the report's code, the exit code, or 128 + the signal's number.

    Raises:
        OSError: a rank could not be started; those before it were killed.
    """
    with tempfile.TemporaryDirectory(prefix="fw-") as folder, _lifeline() as lifeline, _signals() as received:
        common = _common(count) | lifeline
        ranks: list[_Watched] = []
        try:
            for rank in range(count):
                report = Path(folder) / f"rank-{rank}.json"
                environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank), REPORT: str(report)}
                ranks.append(_Watched(f"rank {rank} of {count}", start(rank, environment), report))
            at_once = _watch(ranks, received)
        finally:
            while running := [rank for rank in ranks if rank.is_running()]:  # when a later one could not be started
                _kill(running)
                time.sleep(INTERVAL)
        return _conclude(ranks, at_once)


def command(rank: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a rank that runs this process's command line again.

    Rank 0 speaks for all; what the others write to stderr is kept beside their reports, and shown if they die.

    Args:
        rank: its number.
        environment: its environment, of `supervise`.
    """
    kept: AbstractContextManager[IO[bytes] | None] = nullcontext()
    if rank != 0:
        kept = stderr_file(Path(environment[REPORT])).open("wb")
    with kept as stderr:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "framework", *sys.argv[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[int(environment[LIFELINE])],
            start_new_session=True,  # the terminal's Ctrl-C reaches the supervisor alone, which passes it on
        )


def stderr_file(report: Path) -> Path:
    """Return where the stderr of a rank other than 0 is kept, given the path of its report."""
    return report.with_suffix(".stderr")


def become_rank(environment: Mapping[str, str]) -> None:
    """Make a rank of a process that was forked from the supervisor; one that `command` started is one already.

    A fork has the supervisor's end of the pipe too, and would never see it close.

    Args:
        environment: its environment, of `supervise`.
    """
    os.close(int(environment[HOLD]))
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)


@dataclass(frozen=True)
class _Failure:
    text: str
    code: int
    time: float  # seconds since the epoch
    lost_contact: bool


class _Watched:
    """A rank and what is known of its end."""

    def __init__(self, name: str, process: Rank, report: Path) -> None:
        self.name, self.process, self.report = name, process, report
        self.code: int | None = None  # negative for a signal
        self.ended = math.nan  # seconds since the epoch
        self.killed = False  # by the supervisor

    def is_running(self) -> bool:
        if self.code is None:
            self.code = self.process.poll()
            self.ended = time.time()
        return self.code is None

    def failed(self) -> bool:
        """Return whether it has failed; one that has reported may not manage to end."""
        return self.code not in (None, 0, STOPPED) or self.report.exists()

    def failure(self) -> _Failure | None:
        """Return what its own failure was, after its end."""
        if self.report.exists():
            said = json.loads(self.report.read_bytes())
            text = f"{self.name}: {said['message'].rstrip()}"
            return _Failure(text, said["code"], said["time"], said["lost_contact"])
        if self.killed or not self.failed():
            return None
        assert self.code is not None
        if self.code < 0:
            end, code = f"{self.name} was ended by {_signal_name(-self.code)}", 128 - self.code
        else:
            end, code = f"{self.name} ended with exit code {self.code}, without a word", self.code
        return _Failure("\n".join([*self._last_lines(), end]), code, self.ended, lost_contact=False)

    def _last_lines(self) -> list[str]:
        path = stderr_file(self.report)
        return path.read_text(errors="replace").splitlines()[-LAST_LINES:] if path.exists() else []


def _watch(ranks: list[_Watched], received: deque[signal.Signals]) -> bool:
    """Wait for the end of all ranks; return whether they were asked to end at once."""
    requests, deadline = 0, math.inf
    while running := [rank for rank in ranks if rank.is_running()]:
        while received:
            number = received.popleft()
            requests += 1
            for rank in running:
                rank.process.send_signal(number)
        # A rank that waits for another in compiled code does not see the second signal.
        if deadline == math.inf and (requests > 1 or any(rank.failed() for rank in ranks)):
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            _kill(running)
        time.sleep(INTERVAL)
    return requests > 1


def _conclude(ranks: list[_Watched], at_once: bool) -> int:
    """Print the first cause, when there is one, and return the exit code."""
    failures = [failure for rank in ranks if (failure := rank.failure())]
    # A rank may lose another that was quicker to end, after the second signal, or after one before training.
    if at_once or any(rank.code == STOPPED for rank in ranks):
        failures = [failure for failure in failures if not failure.lost_contact]
    if not failures:
        return 0 if all(rank.code == 0 for rank in ranks) else STOPPED
    first = min(failures, key=lambda failure: (failure.lost_contact, failure.time))
    if (ranks[0].code or 0) < 0:  # it was cut off, perhaps within a line
        print(file=sys.stderr)
    print(first.text, file=sys.stderr, flush=True)
    return first.code


def _kill(running: list[_Watched]) -> None:
    for rank in running:
        rank.killed = True
        rank.process.kill()


def _common(count: int) -> dict[str, str]:
    """Return the environment of all ranks: this process's, and torchrun's variables."""
    # A torchrun of one process has told this one where its store is; the ranks have another.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC_")}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {
        "OMP_NUM_THREADS": str(max(1, cores // count)),
        **inherited,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }


def _free_port() -> int:
    """Return a port that nothing on this machine listens at; it could be taken before rank 0 does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _lifeline() -> Iterator[dict[str, str]]:
    """Hold one end of a pipe; return the variables that name both."""
    theirs, ours = os.pipe()
    try:
        yield {LIFELINE: str(theirs), HOLD: str(ours)}
    finally:
        os.close(theirs)
        os.close(ours)


@contextmanager
def _signals() -> Iterator[deque[signal.Signals]]:
    """Collect the signals that are for the ranks; what was there before is put back on leaving."""
    received: deque[signal.Signals] = deque()
    first = math.inf

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first < now < first + ONE:  # one request that has come twice, as for the ranks
            return
        first = min(first, now)
        received.append(signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number))

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_name(number: int) -> str:
    """Return "SIGKILL"; most real-time signals have a number only."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
