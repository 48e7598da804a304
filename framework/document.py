"""A YAML document whose every value remembers where it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.errors import Mark, Problem, RecipeError, nearest

# A recipe is a page of text: what is larger is a mistake, or made to cost time.
MAX_BYTES = 262_144
MAX_NODES = 10_000
MAX_DEPTH = 50


@dataclass
class Node:
    """A value of a recipe and its place.

    Args:
        value: a scalar, a list of nodes, or a map of nodes.
        mark: where the value is.
        key_mark: where its key is, for a value in a map.
        text: a scalar as it was written, for a field that takes it as a string.
    """

    value: Any
    mark: Mark
    key_mark: Mark | None = None
    text: str = ""

    def plain(self) -> Any:
        """Return the value without the places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Iterate over this node and all below it, each with its path."""
        yield path, self
        items: Any = ()
        if isinstance(self.value, dict):
            items = self.value.items()
        elif isinstance(self.value, list):
            items = enumerate(self.value)
        for key, node in items:
            yield from node.walk((*path, key))


def read_document(path: Path) -> Node:
    """Read a YAML file.

    Raises:
        RecipeError: the file is missing, is too large, is no text, is no YAML or is no map; or a key is there twice.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError([Problem(f"{source}: cannot be read: {error.strerror}", write=similar(path))]) from error
    if len(raw) > MAX_BYTES:
        raise RecipeError([Problem(f"{source}: a recipe is at most {MAX_BYTES:,} bytes long, this file is longer")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        mark = Mark(source, before.count(b"\n") + 1, error.start - before.rfind(b"\n"), 1, "")
        message = f"not a text file: byte {error.start} is not UTF-8"
        raise RecipeError([Problem(message, expected="a YAML file", mark=mark)]) from error
    return parse_document(text, source)


def similar(path: Path) -> str:
    """Return the recipe beside a missing one whose name is most like its, or ""."""
    folder = path.parent
    name = nearest(path.name, [other.name for other in folder.glob("*.yaml")])
    return str(folder / name) if name else ""


def parse_document(text: str, source: str) -> Node:
    """Parse the text of a recipe; `source` is what marks call it."""
    reader = _Reader(text, source)
    root = reader.read() or Node(None, Mark(source, 1, 1, 1, ""))
    if not reader.problems and not isinstance(root.value, dict):
        found = "nothing" if root.value is None else _kind(root.value)
        reader.problems.append(Problem("a recipe is a map of keys to values", found=found, mark=root.mark))
    if reader.problems:
        raise RecipeError(reader.problems)
    return root


def parse_value(text: str, source: str, line: str, column: int) -> Node:
    """Parse one value of the command line; its mark is a place in `line`, the whole argument.

    Args:
        text: the value, in YAML's flow style ("[256, 128]").
        source: what the mark calls the place.
        line: the whole argument.
        column: where in it the value starts, from 1.
    """
    reader = _Reader(text, source, shown=line, offset=column - 1)
    root = reader.read()
    if left_out := text[reader.end :].strip():
        place = Mark(source, 1, column + text.index(left_out, reader.end), len(left_out), line)
        reader.problems.append(
            Problem("a comment, which would be dropped", found=left_out, write=f"'{text}', in quotes", mark=place)
        )
    if reader.problems:
        raise RecipeError(reader.problems)
    return root or Node(None, Mark(source, 1, column, 1, line))


def scalar(text: str) -> Any:
    """Return what a word means in a recipe when it stands there without quotes: a number, true, null, or itself."""
    for kind in ("null", "bool", "int", "float"):
        if re.fullmatch(_PATTERNS[kind], text):
            return _SCALARS[kind](text)
    return text


def dump_document(plain: Any) -> str:
    """Return plain containers as YAML that `read_document`, and any other reader, reads as the same."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


@dataclass
class _Reader:
    """Turns YAML's own tree into nodes and collects everything that is wrong with it."""

    text: str
    source: str
    shown: str | None = None  # the line that marks show, when it is not the text's own
    offset: int = 0
    end: int = 0  # characters read
    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    key: yaml.Mark | None = None  # of the recipe's own keys, the one that is being read

    def __post_init__(self) -> None:
        self.lines = self.text.splitlines() or [""]

    def read(self) -> Node | None:
        try:
            tree = yaml.compose(self.text, Loader=_Loader)
            self.end = tree.end_mark.index if tree else 0
            return None if tree is None else self._node(tree, ())
        except _TooLarge as error:
            self._report(str(error.problem), error.problem_mark)
        except yaml.MarkedYAMLError as error:
            reason = " ".join(part for part in (error.context, error.problem) if part)
            mark = error.problem_mark or error.context_mark
            # `{size: ${latent_dim}}` is what people write; inside { } a brace ends the word.
            quotes = mark is not None and "${" in self._line(mark.line)
            self._report(f"not YAML: {reason}", mark, write='"${…}", in quotes inside { } or [ ]' if quotes else "")
        except yaml.reader.ReaderError as error:
            before = self.text[: error.position]
            line, column = before.count("\n"), error.position - before.rfind("\n") - 1
            message = f"not YAML: the character {error.character:#x} is not allowed"
            self.problems.append(Problem(message, mark=self._mark(line, column, 1)))
        self.end = len(self.text)
        return None

    def _report(self, message: str, mark: yaml.Mark | None, write: str = "") -> None:
        place = self._mark(mark.line, mark.column, 1) if mark else None
        self.problems.append(Problem(message, write=write, mark=place))

    def _node(self, tree: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
        self.count += 1
        # An alias is the very node of its anchor: one inside itself would never end.
        if tree in above:
            raise _TooLarge(problem="an alias inside the value that it stands for", problem_mark=tree.start_mark)
        if self.count > MAX_NODES or len(above) > MAX_DEPTH:
            # Not `tree.start_mark`: an alias has the place of its anchor.
            raise _TooLarge(problem=f"{_BOUNDS}, once every alias is written out", problem_mark=self.key)
        if tree.tag.removeprefix(_TAG) not in _KINDS[type(tree)]:
            return self._foreign(tree)
        if isinstance(tree, yaml.MappingNode):
            return Node(self._map(tree, (*above, tree)), self._start(tree))
        if isinstance(tree, yaml.SequenceNode):
            return Node([self._node(child, (*above, tree)) for child in tree.value], self._start(tree))
        return self._scalar(tree)

    def _map(self, tree: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, child in tree.value:
            self.key = key.start_mark if len(above) == 1 else self.key
            mark = self._span(key)
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                merges = isinstance(key, yaml.ScalarNode)
                found_key = "<<" if merges else "a list or a map"
                write = "extends: other.yaml, to build on another recipe" if merges else ""
                self.problems.append(Problem("a key is a plain word", found=found_key, write=write, mark=mark))
                continue
            name = key.value
            node = self._node(child, above)
            node.key_mark = mark
            if name in found:
                first = found[name].key_mark
                self.problems.append(
                    Problem(
                        f"the key {name!r} is there twice",
                        found=f"also on line {first.line if first else '?'}",
                        expected="each key once",
                        mark=mark,
                    )
                )
            found[name] = node
        return found

    def _scalar(self, tree: yaml.Node) -> Node:
        kind = tree.tag.removeprefix(_TAG)
        if kind != "str" and not re.fullmatch(_PATTERNS[kind], tree.value):
            return self._foreign(tree)
        return Node(_SCALARS[kind](tree.value), self._span(tree), text=tree.value)

    def _foreign(self, tree: yaml.Node) -> Node:
        tag = tree.tag.replace(_TAG, "!!")
        mark = self._start(tree)
        self.problems.append(
            Problem("a recipe holds numbers, strings, lists and maps only", found=f"the tag {tag}", mark=mark)
        )
        return Node(None, mark)

    def _span(self, tree: yaml.Node) -> Mark:
        start, end = tree.start_mark, tree.end_mark
        length = end.column - start.column if end.line == start.line else len(self._line(start.line)) - start.column
        return self._mark(start.line, start.column, length)

    def _start(self, tree: yaml.Node) -> Mark:
        return self._mark(tree.start_mark.line, tree.start_mark.column, 1)

    def _mark(self, line: int, column: int, length: int) -> Mark:
        return Mark(self.source, line + 1, self.offset + column + 1, max(1, length), self._line(line))

    def _line(self, line: int) -> str:
        if self.shown is not None:
            return self.shown
        return self.lines[line] if line < len(self.lines) else ""


class _TooLarge(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: `no`, `1:30` and `010` are strings, and 1e-3 is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    count = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Counted while it is composed: a file of the largest size would take seconds first.
        self.count += 1
        self.depth += 1
        if self.count > 2 * MAX_NODES or self.depth > MAX_DEPTH + 1:  # keys are nodes here too
            raise _TooLarge(problem=_BOUNDS, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what a reader of YAML 1.1 or 1.2 would not take for a string."""


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_TAG = "tag:yaml.org,2002:"
_BOUNDS = f"more than {MAX_NODES:,} values, or nested deeper than {MAX_DEPTH} levels"
_INT = r"[-+]?(0|[1-9][0-9]*)"
_PATTERNS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": _INT,
    "float": rf"{_INT}[eE][-+]?[0-9]+|[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}
_SCALARS: dict[str, Any] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text) if len(text) < 40 else _float(text),
    "float": _float,
    "str": str,
}
_KINDS: dict[type, Any] = {yaml.ScalarNode: _SCALARS, yaml.SequenceNode: {"seq"}, yaml.MappingNode: {"map"}}
for _kind_of_scalar, _pattern in _PATTERNS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind_of_scalar, re.compile(f"^(?:{_pattern})$"), None)


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"{value!r}"
