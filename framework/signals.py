"""A polite stop: the first SIGINT or SIGTERM asks training to save and end, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 75  # the exit code of a run that can be resumed
ONE = 0.5  # seconds: a job's end may reach a process twice, by itself and through who started it
HEARD = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether a signal has asked for the end; false until then."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def listen(self) -> None:
        """Hear SIGINT and SIGTERM, and nobody else."""
        for number in HEARD:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self and now < self._asked + ONE:
            return
        if self:
            # Files are whole at any moment, so nothing has to be tidied up; other libraries' exits may take a minute.
            print("stopped at once; what was saved last can be resumed", file=sys.stderr, flush=True)
            os._exit(STOPPED)
        self.signal, self._asked = signal.Signals(number), now


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Record SIGINT and SIGTERM in `request` while inside; what was there before is put back on leaving."""
    before = {number: signal.getsignal(number) for number in HEARD}
    request.listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_on_signals() -> None:
    """End at once on SIGINT and SIGTERM, as a run that can be resumed: nothing has been trained yet."""

    def end(number: int, frame: FrameType | None) -> None:
        if os.environ.get("RANK") == "0":  # one of several speaks for all
            print("stopped before training began", file=sys.stderr, flush=True)
        os._exit(STOPPED)

    for heard in HEARD:
        signal.signal(heard, end)
