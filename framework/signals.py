"""A polite stop: the first SIGINT or SIGTERM asks training to save and end, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 75  # the exit code of a run that can be resumed


class StopRequest:
    """Whether a signal has asked for the end; false until then."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Record SIGINT and SIGTERM in `request` while inside; what was there before is put back on leaving."""

    def ask(number: int, frame: FrameType | None) -> None:
        if request:
            # Files are whole at any moment, so nothing has to be tidied up; other libraries' exits may take a minute.
            print("stopped at once; what was saved last can be resumed", file=sys.stderr, flush=True)
            os._exit(STOPPED)
        request.signal = signal.Signals(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
