"""What recipes say of themselves: the comment that each opens with; needs nothing but the files."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from framework.errors import Problem, RecipeError

WIDTH = 100  # columns
INDENT = 4 * " "


@dataclass(frozen=True)
class Header:
    """The comment at the top of a recipe: prose, and below it, indented, the command that runs it.

    Args:
        what: what the recipe is and reproduces; "" where it does not say.
        measured: what came out, from the line on that begins with "Measured"; a line for each row of a table, indented.
        commands: the lines that are indented by four.
    """

    what: str
    measured: str
    commands: tuple[str, ...]


def read_header(text: str) -> Header:
    """Return the header of a recipe.

    Example:
        >>> read_header("# A VAE (2014).\\n# Measured: 1.0 ± 0.1.\\n#\\n#     fw run vae.yaml\\nname: vae\\n")
        Header(what='A VAE (2014).', measured='Measured: 1.0 ± 0.1.', commands=('fw run vae.yaml',))
    """
    comment = [line[1:] for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    commands = tuple(line.strip() for line in comment if line.startswith(f" {INDENT}"))
    prose = "\n".join(line.removeprefix(" ") for line in comment if not line.startswith(f" {INDENT}"))
    what, *measured = re.split(r"^(?=Measured\b)", prose, maxsplit=1, flags=re.MULTILINE)
    return Header(_joined(what), _joined("".join(measured)), commands)


def list_recipes(folder: Path) -> str:
    """Return the recipes of a folder, each with what it is and the first sentence of what was measured.

    Raises:
        RecipeError: there are none.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise RecipeError(
            [
                Problem(
                    f"there are no recipes in {folder}",
                    found="no file *.yaml" if folder.is_dir() else "no such directory",
                    expected="a checkout's recipes/ in the working directory, or the name of another folder",
                    write="fw list recipes --recipes DIR",
                )
            ]
        )
    return "\n".join(line for path in paths for line in _lines(path))


def _lines(path: Path) -> list[str]:
    header = read_header(path.read_text(encoding="utf-8"))
    first, *others = header.measured.split("\n")
    # A sentence ends before a capital: "et al. 2014" goes on.
    said = [header.what, re.split(r"(?<=\.) (?=[A-Z])", first)[0], *(row for row in others if row.startswith(" "))]
    wrapped = [line for text in said for line in _wrapped(text)]
    return [str(path), *(wrapped or [f"{INDENT}(no header)"])]


def _wrapped(text: str) -> list[str]:
    indent = INDENT + " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _joined(text: str) -> str:
    """Return a text with its lines joined, but for those that are indented."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and not line.startswith(" ") and not lines[-1].startswith(" "):
            lines[-1] = f"{lines[-1]} {line}".strip()
        else:
            lines.append(line)
    return "\n".join(lines).strip()
