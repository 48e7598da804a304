"""A polite stop: the first SIGINT or SIGTERM asks training to save and end, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a signal has asked for the end; false until then."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Record SIGINT and SIGTERM in `request` while inside; what was there before is put back on leaving."""
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in watched}

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for each in watched:
            signal.signal(each, before[each])

    for number in watched:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number in watched:
            signal.signal(number, before[number])
