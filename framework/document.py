"""A YAML document whose every value remembers where it was written."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.errors import Mark, Problem, RecipeError

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
        raise RecipeError([Problem(f"{source}: cannot be read: {error.strerror}", write=_similar(path))]) from error
    if len(raw) > MAX_BYTES:
        raise RecipeError([Problem(f"{source}: a recipe is at most {MAX_BYTES:,} bytes long, this file is longer")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            [Problem(f"{source}: not a text file: byte {error.start} is not UTF-8", expected="a YAML file")]
        ) from error
    return parse_document(text, source)


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
    if reader.problems:
        raise RecipeError(reader.problems)
    return root or Node(None, Mark(source, 1, column, 1, line))


@dataclass
class _Reader:
    """Turns YAML's own tree into nodes and collects everything that is wrong with it."""

    text: str
    source: str
    shown: str | None = None  # the line that marks show, when it is not the text's own
    offset: int = 0
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.lines = self.text.splitlines() or [""]

    def read(self) -> Node | None:
        try:
            tree = yaml.compose(io.StringIO(self.text), Loader=_Loader)
            return None if tree is None else self._node(tree, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = " ".join(part for part in (error.context, error.problem) if part)
            self.problems.append(
                Problem(f"not YAML: {reason}", mark=self._mark(mark.line, mark.column, 1) if mark else None)
            )
        except yaml.YAMLError as error:
            self.problems.append(Problem(f"{self.source}: not YAML: {' '.join(str(error).split())}"))
        except RecursionError:
            self.problems.append(Problem(f"{self.source}: nested deeper than {MAX_DEPTH} levels"))
        except _TooLarge:
            self.problems.append(
                Problem(
                    f"{self.source}: more than {MAX_NODES:,} values once every alias is written out, or nested deeper than {MAX_DEPTH} levels"
                )
            )
        return None

    def _node(self, tree: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
        self.count += 1
        # An alias is the very node of its anchor: one inside itself would never end.
        if self.count > MAX_NODES or len(above) > MAX_DEPTH or tree in above:
            raise _TooLarge
        if isinstance(tree, yaml.MappingNode):
            return Node(self._map(tree, (*above, tree)), self._start(tree))
        if isinstance(tree, yaml.SequenceNode):
            return Node([self._node(child, (*above, tree)) for child in tree.value], self._start(tree))
        return self._scalar(tree)

    def _map(self, tree: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, child in tree.value:
            mark = self._span(key)
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                self.problems.append(
                    Problem(
                        "a key is a plain word",
                        found="<<" if isinstance(key, yaml.ScalarNode) else "a list or a map",
                        write="extends: other.yaml, to build on another recipe",
                        mark=mark,
                    )
                )
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
        mark = self._span(tree)
        kind = tree.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _SCALARS:
            self.problems.append(
                Problem("a recipe holds numbers, strings, lists and maps only", found=f"the tag {tree.tag}", mark=mark)
            )
            return Node(None, mark, text=tree.value)
        return Node(_SCALARS[kind](tree.value), mark, text=tree.value)

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


class _TooLarge(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: `no` and `1:30` are strings, and 1e-3 is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _tag, _pattern in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(0|[1-9][0-9]*)"),
    ("float", _FLOAT),
    ("merge", r"<<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), None)  # type: ignore[no-untyped-call]


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Any] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text) if len(text) < 40 else _float(text),
    "float": _float,
    "str": str,
}


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the {type(value).__name__} {value!r}"


def _similar(path: Path) -> str:
    from framework.errors import nearest

    folder = path.parent if path.parent.is_dir() else Path()
    name = nearest(path.name, [other.name for other in folder.glob("*.yaml")])
    return str(folder / name) if name else ""
