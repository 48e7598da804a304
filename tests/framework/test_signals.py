"""Stopping by signals."""

from __future__ import annotations

import signal
import subprocess
import sys

from framework.signals import StopRequest, stop_on_signals


def test_the_first_signal_asks_and_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    with stop_on_signals(request):
        assert not request
        signal.raise_signal(signal.SIGTERM)
        assert request
        assert request.signal is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_signal_ends_the_process_at_once_with_75_and_one_that_comes_twice_does_not() -> None:
    program = """
import signal, time
from framework.signals import ONE, StopRequest, stop_on_signals
with stop_on_signals(StopRequest()):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    print("going on", flush=True)
    time.sleep(ONE)
    signal.raise_signal(signal.SIGINT)
    print("never")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 75
    assert ended.stdout == "going on\n"
    assert ended.stderr == "stopped at once; what was saved last can be resumed\n"
