"""The recipe as text: files, what they extend, overrides and interpolations, put together into one tree."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.document import MAX_DEPTH, Node, parse_value, read_document, similar
from framework.errors import Mark, Problem, RecipeError, nearest

COMMAND_LINE = "command line"
# Files that a recipe may be put together from: each could extend the next one twice.
MAX_FILES = 100
# What all interpolations of a recipe together may expand to; 215 bytes can otherwise ask for terabytes.
MAX_EXPANSION = 20_000
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}")

_TOO_DEEP = f"refers to references, or holds values, more than {MAX_DEPTH} levels deep"

Path_ = tuple[str | int, ...]


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Node:
    """Return a recipe's tree: `extends` merged in, overrides applied, interpolations resolved.

    Args:
        path: the YAML file.
        overrides: `key.path=value`, as on the command line; the value is YAML.

    Raises:
        RecipeError: everything that is wrong before any part is looked at.
    """
    root = _extended(path, (), [])
    problems: list[Problem] = []
    changes: Node | None = None
    for override in overrides:
        try:
            change = _override(override)
            # Put together before the recipe sees them: a new `name` drops the old part's options, not these.
            changes = change if changes is None else merge(changes, change)
        except RecipeError as error:
            problems += error.problems
    if changes is not None:
        root = merge(root, changes)
    if not problems:
        problems = _resolve(root)
    if problems:
        raise RecipeError(problems)
    return root


def merge(base: Node, top: Node) -> Node:
    """Return two recipes as one: maps merge, all else is replaced, and a part's new name drops the options it had."""
    merged = dict(base.value)
    for key, node in top.value.items():
        merged[key] = _merge_values(merged[key], node) if key in merged else node
    # An override changes what is in a map, not where the map stands.
    place = base if top.mark.source == COMMAND_LINE else top
    return Node(merged, place.mark, place.key_mark)


def _merge_values(base: Node, top: Node) -> Node:
    if isinstance(base.value, str) and isinstance(top.value, dict):  # a part that is written as its name alone
        base = Node({"name": base}, base.mark, base.key_mark)
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    names = [node.value["name"].value for node in (base, top) if "name" in node.value]
    return top if len(names) == 2 and names[0] != names[1] else merge(base, top)


def _extended(path: Path, below: tuple[Path, ...], read: list[Path]) -> Node:
    own = read_document(path)
    read.append(path)
    extends = own.value.pop("extends", None)
    if extends is None:
        return own
    names = extends.value if isinstance(extends.value, list) else [extends]
    layers = [*(_base(name, path, (*below, path), read) for name in names), own]
    return functools.reduce(merge, layers)


def _base(name: Node, path: Path, below: tuple[Path, ...], read: list[Path]) -> Node:
    """Return the recipe that the one at `path` extends by this name."""

    def refuse(message: str, *, found: str = "", expected: str = "", write: str = "") -> RecipeError:
        return RecipeError([Problem(message, "extends", found, expected, write, name.mark)])

    if not isinstance(name.value, str):
        raise refuse("not a file name", expected="a recipe's path, or a list of paths")
    base = path.parent / name.value
    if base.resolve() in {other.resolve() for other in below}:
        raise refuse("a recipe that extends itself", found=name.value)
    if not base.is_file():
        near = similar(base)
        raise refuse("there is no such file", found=str(base), write=os.path.relpath(near, path.parent) if near else "")
    if len(read) >= MAX_FILES:
        raise refuse(f"a recipe is put together from at most {MAX_FILES} files", found=name.value)
    return _extended(base, below, read)


def _override(override: str) -> Node:
    """Return the tree that holds what an override sets, and nothing else."""
    whole = Mark(COMMAND_LINE, 1, 1, len(override), override)
    path, separator, text = override.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        write = "trainer.max_epochs=5"
        raise RecipeError([Problem("not an override", "", override, "key.path=value", write, whole)])
    if len(keys) > MAX_DEPTH:
        raise RecipeError([Problem(f"a path of more than {MAX_DEPTH} keys", mark=whole)])
    if keys[0] == "extends":
        raise RecipeError([Problem("only a file can extend another", found=override, mark=whole)])
    tree = parse_value(text, COMMAND_LINE, override, len(path) + 2)
    tree.key_mark = Mark(COMMAND_LINE, 1, len(path) - len(keys[-1]) + 1, len(keys[-1]), override)
    for key in reversed(keys):
        tree = Node({key: tree}, whole, whole)
    return tree


def _resolve(root: Node) -> list[Problem]:
    """Replace `${key.path}` by what stands there; OmegaConf does it, once it is known to be harmless."""
    interpolated = [(path, node) for path, node in root.walk() if isinstance(node.value, str) and "${" in node.value]
    if not interpolated:
        return []
    problems = [problem for path, node in interpolated for problem in _foul_references(root, path, node)]
    if problems:
        return problems
    costs: dict[Path_, tuple[int, int]] = {}
    total = 0
    for path, node in interpolated:
        try:
            total += _cost(root, path, costs, ())[0]
        except _Endless as error:
            return [_interpolation_problem(path, node, str(error))]
        if total > MAX_EXPANSION:
            return [_interpolation_problem(path, node, f"expands to more than {MAX_EXPANSION:,} values or characters")]
    config = OmegaConf.create(root.plain())
    assert isinstance(config, DictConfig)
    try:
        resolved: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:  # such as a reference to "???", which stands for a missing value there
        reason = str(error).splitlines()[0]
        return [Problem(f"an interpolation that cannot be resolved: {reason}", str(error.full_key), mark=root.mark)]
    for path, node in interpolated:
        value = resolved
        for key in path:
            value = value[key]
        fresh = _node_of(value, node)
        node.value, node.text = fresh.value, fresh.text
    return []


def _foul_references(root: Node, path: Path_, node: Node) -> list[Problem]:
    rest = _REFERENCE.sub("", node.value)
    if "${" in rest or "\\${" in node.value:
        message = "recipes interpolate with ${key.path} alone: no resolvers, no escapes, none inside another"
        return [_interpolation_problem(path, node, message)]
    return [
        _interpolation_problem(path, node, f"{reference!r} is not in the recipe", _nearest_path(root, reference))
        for reference in _REFERENCE.findall(node.value)
        if _find(root, reference) is None
    ]


def _nearest_path(root: Node, reference: str) -> str:
    near = nearest(reference, [".".join(map(str, path)) for path, _ in root.walk() if path])
    return f"${{{near}}}" if near else ""


def _interpolation_problem(path: Path_, node: Node, message: str, write: str = "") -> Problem:
    where = ".".join(map(str, path))
    return Problem(message, where, node.value, "${key.path} of a value in this recipe", write, node.mark)


def _find(root: Node, reference: str) -> Path_ | None:
    """Return the path that a reference means, or None."""
    node = root
    path: list[str | int] = []
    for key in reference.split("."):
        keys: dict[str, str | int] = {}
        if isinstance(node.value, dict):
            keys = {name: name for name in node.value}
        elif isinstance(node.value, list):
            keys = {str(position): position for position in range(len(node.value))}
        if key not in keys:
            return None
        path.append(keys[key])
        node = _at(node, (keys[key],))
    return tuple(path)


def _at(root: Node, path: Path_) -> Node:
    node = root
    for key in path:
        node = node.value[key]
    return node


class _Endless(Exception):
    """An interpolation without end, or so deep that it might as well have none."""


def _cost(root: Node, path: Path_, costs: dict[Path_, tuple[int, int]], below: tuple[Path_, ...]) -> tuple[int, int]:
    """Return how many values, characters and references the value at a path expands to, and how many levels deep.

    Nothing is expanded for it.
    """
    if path in costs:
        return costs[path]
    if any(path == other[: len(path)] for other in below):
        raise _Endless("refers to itself")
    node = _at(root, path)
    own, inside = 1, []
    if isinstance(node.value, dict | list):
        keys: Iterable[str | int] = node.value if isinstance(node.value, dict) else range(len(node.value))
        inside = [_cost(root, (*path, key), costs, below) for key in keys]
    elif isinstance(node.value, str):
        own += len(node.value)
        targets = [_find(root, reference) for reference in _REFERENCE.findall(node.value)]
        if len(below) < MAX_DEPTH:
            inside = [_cost(root, target, costs, (*below, path)) for target in targets if target is not None]
        elif targets:
            raise _Endless(_TOO_DEEP)
    levels = 1 + max((level for _, level in inside), default=0)
    if levels > MAX_DEPTH:
        raise _Endless(_TOO_DEEP)
    costs[path] = own + sum(cost for cost, _ in inside), levels
    return costs[path]


def _node_of(value: Any, like: Node) -> Node:
    """Return a plain value as nodes that all stand where the interpolation stands."""
    if isinstance(value, dict):
        return Node({key: _node_of(item, like) for key, item in value.items()}, like.mark, like.mark)
    if isinstance(value, list):
        return Node([_node_of(item, like) for item in value], like.mark, like.mark)
    return Node(deepcopy(value), like.mark, like.key_mark, "" if value is None else str(value))
