"""Running a function on several processes that make up one group, as the processes of a training do."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TIME_LIMIT = 60.0  # seconds, for all ranks together

# One server for this and for `interruption`: whichever of the two is imported last says what it imports.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["framework.run", "framework.module", "framework_plugins", "framework.distributed"])


@dataclass(frozen=True)
class _Answer:
    result: Any = None
    report: str = ""  # what went wrong
    only_lost_contact: bool = False


def on_ranks(count: int, function: Callable[..., Any], *arguments: Any, killed: Collection[int] = ()) -> list[Any]:
    """Call a function in each of `count` processes of a gloo group and return what each returned, by rank.

    The function is found by its module and name, so it stands at the top of its file; warnings are errors in it.

    Args:
        count: W.
        function: what to call; it returns plain values (a tensor would be shared memory of a process that has ended).
        arguments: its arguments, plain too.
        killed: the ranks that end by a signal of their own making; None stands for what they return.

    Raises:
        AssertionError: an exception in a process, with its traceback; a process that ended without an answer; the time
            limit. The other processes are ended then.
    """
    deadline = time.monotonic() + TIME_LIMIT
    with tempfile.TemporaryDirectory() as folder:
        ranks = []
        for rank in range(count):
            receiver, sender = _context.Pipe(duplex=False)
            given = (rank, count, str(Path(folder) / "store"), sender, function, arguments)
            process = _context.Process(target=_call, args=given, daemon=True)
            process.start()
            sender.close()  # so that the end of the process is the end of the pipe
            ranks.append((process, receiver))
        try:
            answers = [
                _answer(receiver, rank, deadline, expected=rank not in killed)
                for rank, (_, receiver) in enumerate(ranks)
            ]
        finally:
            for process, receiver in ranks:
                receiver.close()
                process.kill()  # has answered, or waits for one that never will
                process.join()
    # The first failure takes the other processes with it, which only say so.
    reports = sorted((answer.only_lost_contact, answer.report) for answer in answers if answer.report)
    assert not reports, reports[0][1]
    return [answer.result for answer in answers]


def _answer(receiver: Connection, rank: int, deadline: float, *, expected: bool) -> _Answer:
    assert receiver.poll(max(0.0, deadline - time.monotonic())), f"rank {rank} ran past {TIME_LIMIT:g} s"
    try:
        answer: _Answer = receiver.recv()
    except EOFError:
        return _Answer(report=f"rank {rank} ended without an answer" if expected else "")
    if not expected and not answer.report:
        return _Answer(report=f"rank {rank} was to be killed, and returned {answer.result}")
    return answer


def _call(
    rank: int, count: int, store: str, sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch
    import torch.distributed as dist

    from framework.distributed import lost_contact

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = function(*arguments)
        sender.send(_Answer(result))
    except BaseException as error:
        report = f"rank {rank}:\n{traceback.format_exc()}"
        sender.send(_Answer(report=report, only_lost_contact=lost_contact(error)))
    else:
        sender.close()
        with suppress(RuntimeError):  # the others may have been ended: all answers are in
            dist.barrier()  # nobody leaves while another still reads from it
            dist.destroy_process_group()
