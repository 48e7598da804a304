"""What can be wrong with a recipe, and how it is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Characters of a recipe's line, and of what was found, that a report shows; a line may be a whole file.
LINE_WIDTH = 120


@dataclass(frozen=True)
class Mark:
    """A place in a recipe, or in an argument of the command line: what an error points its caret at."""

    source: str  # the file's path as the user wrote it, or "command line"
    line: int  # from 1
    column: int  # from 1
    length: int  # characters under the caret
    text: str  # the whole line

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"

    def excerpt(self) -> tuple[str, str]:
        """Return the line, or the part of a long one that matters, and the caret's line below it."""
        start = max(0, self.column - 1 - LINE_WIDTH // 2) if len(self.text) > LINE_WIDTH else 0
        shown = self.text[start : start + LINE_WIDTH]
        before = self.column - 1 - start
        return shown, " " * before + "^" * max(1, min(self.length, len(shown) - before))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what was found, what was expected, what to write instead."""

    message: str
    path: str = ""  # dotted path in the recipe, "encoder.hidden"
    found: str = ""
    expected: str = ""
    write: str = ""
    mark: Mark | None = None

    def __str__(self) -> str:
        place = f"{self.mark}: " if self.mark else ""
        lines = [f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"]
        if self.mark and self.mark.text:
            gutter = f"{self.mark.line:>4} | "
            shown, caret = self.mark.excerpt()
            lines += [gutter + shown, " " * (len(gutter) - 2) + "| " + caret]
        found = self.found if len(self.found) <= LINE_WIDTH else self.found[: LINE_WIDTH - 1] + "…"
        for name, value in (("found", found), ("expected", self.expected), ("write", self.write)):
            if value:
                lines.append(f"       {name + ':':<10}{value}")
        return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """Return a line without what would move the cursor: a tab would push the caret off its word, an escape do worse."""
    return "".join(character if character.isprintable() else " " for character in line)


class RecipeError(Exception):
    """A wrong recipe: everything that is wrong with it, in one report. The command line ends with exit code 2.

    Args:
        problems: what is wrong, in any order.
        remarks: sentences for the end of the report, about none of them in particular.
    """

    def __init__(self, problems: Iterable[Problem], remarks: Iterable[str] = ()) -> None:
        self.remarks = list(remarks)
        self.problems = sorted(
            problems, key=lambda p: (p.mark.source, p.mark.line, p.mark.column) if p.mark else ("", 0, 0)
        )
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        report = "\n\n".join(str(problem) for problem in self.problems)
        ending = f"{count} problem{'s' if count != 1 else ''} found."
        return "\n\n".join([report, *self.remarks, ending])


class OptionError(ValueError):
    """An option whose type is right and whose value is not; raised by a part's constructor.

    Args:
        option: the option's name as the recipe writes it, dotted for one inside another ("divergences.kl").
        found: the value found.
        expected: what the part accepts.
        write: what to write instead, when there is one answer.

    Example:
        >>> raise OptionError("scales", found=-1.0, expected="positive numbers")
        Traceback (most recent call last):
        framework.errors.OptionError: scales: expected positive numbers, found -1.0
    """

    def __init__(self, option: str, *, found: object, expected: str, write: str = "") -> None:
        self.option, self.found, self.expected, self.write = option, found, expected, write
        super().__init__(f"{option}: expected {expected}, found {found}" + (f"; write {write}" if write else ""))


class IncompatibleParts(ValueError):
    """Parts that are right one by one and do not fit together: every misfit at once.

    Args:
        misfits: one `OptionError` for each, named by the option that the user would change.
    """

    def __init__(self, misfits: Sequence[OptionError]) -> None:
        self.misfits = list(misfits)
        super().__init__("\n".join(str(misfit) for misfit in misfits))


class PluginError(Exception):
    """A plugin that breaks a rule of the registries; the message says which, where, and how to mend it."""


class NonFiniteError(ArithmeticError):
    """A loss or a gradient that is not finite; training stopped before the optimiser used it. Exit code 76."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name most like `name`, or "" when none is close."""
    known = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return known[found[0]] if found else ""


def with_article(noun: str) -> str:
    """Return "an encoder", "a decoder"."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def listed(names: Iterable[str]) -> str:
    """Return the names as "one of a, b, c", for the `expected` of a problem."""
    names = sorted(names)
    return f"one of {', '.join(names)}" if names else "nothing: none is registered"
