"""A bar for those who wait, on a terminal; silence elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Track(Protocol):
    """Shows how far a loop is."""

    def __call__(self, items: Sequence[T], what: str) -> Iterable[T]:
        """Return the items, to be gone through once; `what` says in a word what for."""


def at_once(items: Sequence[T], what: str) -> Iterable[T]:
    """Return the items; nothing is shown."""
    return items


@contextmanager
def waiting(console: Console) -> Iterator[Track]:
    """Return what shows loops on a console, one after the other; it leaves nothing there.

    Args:
        console: where; nothing is shown where it is no terminal.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def track(items: Sequence[T], what: str) -> Iterable[T]:
        task = bar.add_task(what, total=len(items))
        for item in items:
            yield item
            bar.advance(task)
        bar.remove_task(task)

    with bar:
        yield track
