"""How the command line ends: with a message and an exit code where a user can mend what is wrong."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from framework.errors import NonFiniteError, PluginError, RecipeError

# Beside 0 for done, 1 for a bug, and 75 for stopped (`framework.signals`).
WRONG_RECIPE, INPUT_OUTPUT, NON_FINITE = 2, 74, 76


@contextmanager
def exit_codes(*, trains: bool = False) -> Iterator[None]:
    """Turn what a user can mend into a message and an exit code; anything else is a bug and keeps its traceback.

    Args:
        trains: whether the command trains, or checks what would be trained: of a wrong recipe it says that nothing was.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit):
            raise
        if "RANK" in os.environ:
            _end_rank(error, trains)
        if (end := _end_of(error, trains)) is None:
            raise
        typer.echo(end[0], err=True)
        sys.exit(end[1])


def _end_of(error: BaseException, trains: bool) -> tuple[str, int] | None:
    """Return the message and the exit code of what a user can mend."""
    if isinstance(error, RecipeError):
        report = str(error)
        return f"{report.removesuffix('.')}; nothing was trained." if trains else report, WRONG_RECIPE
    if isinstance(error, PluginError):
        return f"a plugin breaks a rule: {error}", WRONG_RECIPE
    if isinstance(error, NonFiniteError):
        return f"training stopped: {error}", NON_FINITE
    if isinstance(error, OSError):
        return f"input/output: {error}", INPUT_OUTPUT
    return None


def _end_rank(error: BaseException, trains: bool) -> NoReturn:
    """End one of several processes at once: the others must not wait for it, nor it for them."""
    from traceback import format_exception

    from framework.distributed import lost_contact
    from framework.launch import report_failure

    text, code = _end_of(error, trains) or ("".join(format_exception(error)), 1)
    lost = lost_contact(error)
    if not report_failure(text, code, lost_contact=lost):
        typer.echo(text, err=True)
        time.sleep(lost)  # torchrun names the first process that it sees end, and looks ten times a second
    leave(code)


def leave(code: int) -> NoReturn:
    """End one of several processes without Python's own exit, which a thread of the process group may abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
