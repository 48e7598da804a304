"""How the command line ends: what a user can mend is a message and a code, and anything else a traceback."""

from __future__ import annotations

import pytest
import typer

from framework.data import DataError
from framework.errors import NonFiniteError, PluginError, Problem, RecipeError
from framework.exit_codes import exit_codes


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RecipeError([Problem("no such part")]), 2, "no such part"),
        (PluginError("an option without a type"), 2, "a plugin breaks a rule: an option without a type"),
        (DataError("a.gz is damaged"), 74, "input/output: a.gz is damaged"),
        (PermissionError(13, "Permission denied"), 74, "input/output: [Errno 13] Permission denied"),
        (NonFiniteError("the loss is nan"), 76, "training stopped: the loss is nan"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_can_be_mended(error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, exit_codes():
        raise error
    assert end.value.code == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("trains", [False, True])
def test_a_wrong_recipe_says_that_nothing_was_trained_where_something_would_have_been(
    trains: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), exit_codes(trains=trains):
        raise RecipeError([Problem("no such part")])
    assert capsys.readouterr().err.endswith("nothing was trained.\n") == trains


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), typer.Exit(75)], ids=repr)
def test_anything_else_is_passed_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as passed, exit_codes():
        raise error
    assert passed.value is error
