"""A bar on a terminal, and silence elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from framework.waiting import at_once, waiting


def shown(*, terminal: bool) -> str:
    """What appears on a console while two loops run; every item comes, in order."""
    stream = io.StringIO()
    with waiting(Console(file=stream, force_terminal=terminal, width=100)) as track:
        assert list(track(range(3), "log p(x)")) == [0, 1, 2]
        assert list(track("ab", "q(z)")) == ["a", "b"]
    return stream.getvalue()


def test_a_terminal_sees_a_bar() -> None:
    assert "log p(x)" in shown(terminal=True)


def test_nothing_else_sees_anything() -> None:
    assert shown(terminal=False) == ""
    assert list(at_once([1, 2], "")) == [1, 2]
