"""The recipe as text: files, what they extend, overrides and interpolations, put together into one tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from framework.document import MAX_DEPTH, Node, parse_value, read_document
from framework.errors import Mark, Problem, RecipeError

COMMAND_LINE = "command line"
# What all interpolations of a recipe together may expand to; 215 bytes can otherwise ask for terabytes.
MAX_EXPANSION = 20_000
_REFERENCE = re.compile(r"\$\{([^${}:]*)\}")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Node:
    """Return a recipe's tree: `extends` merged in, overrides applied, interpolations resolved.

    Args:
        path: the YAML file.
        overrides: `key.path=value`, as on the command line; the value is YAML.

    Raises:
        RecipeError: everything that is wrong before any part is looked at.
    """
    root = _extended(path, ())
    problems: list[Problem] = []
    for override in overrides:
        try:
            _override(root, override)
        except RecipeError as error:
            problems += error.problems
    if not problems:
        problems = _resolve(root)
    if problems:
        raise RecipeError(problems)
    return root


def merge(base: Node, top: Node) -> Node:
    """Return two trees as one: maps merge, all else is replaced, and a part under another name drops the old one's options."""
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    if _renames(base, top):
        return top
    merged = dict(base.value)
    for key, node in top.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, top.mark, top.key_mark)


def _renames(base: Node, top: Node) -> bool:
    name = top.value.get("name")
    before = base.value.get("name")
    # The whole recipe has a `name` too, and that is no part's.
    return name is not None and "learner" not in base.value and (before is None or before.value != name.value)


def _extended(path: Path, below: tuple[Path, ...]) -> Node:
    own = read_document(path)
    extends = own.value.pop("extends", None)
    if extends is None:
        return own
    names = extends.value if isinstance(extends.value, list) else [extends]
    base: Node | None = None
    for name in names:
        if not isinstance(name.value, str):
            raise RecipeError(
                [Problem("not a file name", "extends", expected="a recipe's path, or a list of paths", mark=name.mark)]
            )
        parent = path.parent / name.value
        if parent.resolve() in {other.resolve() for other in (path, *below)}:
            raise RecipeError([Problem("a recipe that extends itself", "extends", found=name.value, mark=name.mark)])
        if not parent.is_file():
            missing = [Problem("there is no such file", "extends", found=str(parent), mark=name.mark)]
            raise RecipeError(missing)
        layer = _extended(parent, (*below, path))
        base = layer if base is None else merge(base, layer)
    return own if base is None else merge(base, own)


def _override(root: Node, override: str) -> None:
    whole = Mark(COMMAND_LINE, 1, 1, len(override), override)
    path, separator, text = override.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        raise RecipeError(
            [
                Problem(
                    "not an override",
                    found=override,
                    expected="key.path=value",
                    write="trainer.max_epochs=5",
                    mark=whole,
                )
            ]
        )
    if len(keys) > MAX_DEPTH:
        raise RecipeError([Problem(f"a path of more than {MAX_DEPTH} keys", mark=whole)])
    value = parse_value(text, COMMAND_LINE, override, len(path) + 2)
    value.key_mark = Mark(COMMAND_LINE, 1, len(path) - len(keys[-1]) + 1, len(keys[-1]), override)
    tree = value
    for key in reversed(keys):
        tree = Node({key: tree}, whole, whole)
    for key in keys[:-1]:
        # A part may be written as its name alone; an override of its options needs the map that this stands for.
        _expand_shorthand(root, keys[: keys.index(key) + 1])
    root.value = merge(root, tree).value


def _expand_shorthand(root: Node, keys: list[str]) -> None:
    node = root
    for key in keys:
        if not isinstance(node.value, dict) or key not in node.value:
            return
        node = node.value[key]
    if isinstance(node.value, str):
        node.value = {"name": Node(node.value, node.mark, node.key_mark, node.text)}


def _resolve(root: Node) -> list[Problem]:
    """Replace `${key.path}` by what stands there; OmegaConf does it, once it is known to be harmless."""
    interpolated = [(path, node) for path, node in root.walk() if isinstance(node.value, str) and "${" in node.value]
    if not interpolated:
        return []
    problems = [problem for path, node in interpolated for problem in _foul_references(root, path, node)]
    if problems:
        return problems
    costs: dict[tuple[str | int, ...], int] = {}
    total = 0
    for path, node in interpolated:
        try:
            total += _cost(root, path, costs, ())
            if total > MAX_EXPANSION:
                return [
                    _interpolation_problem(path, node, f"expands to more than {MAX_EXPANSION:,} values or characters")
                ]
        except RecursionError:
            return [_interpolation_problem(path, node, "refers to itself")]
    config = OmegaConf.create(root.plain())
    assert isinstance(config, DictConfig)
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    for path, node in interpolated:
        value = resolved
        for key in path:
            value = value[key]
        fresh = _node_of(value, node)
        node.value, node.text = fresh.value, fresh.text
    return []


def _foul_references(root: Node, path: tuple[str | int, ...], node: Node) -> list[Problem]:
    rest = _REFERENCE.sub("", node.value)
    if "${" in rest:
        return [
            _interpolation_problem(
                path, node, "recipes interpolate with ${key.path} alone: no resolvers, none inside another"
            )
        ]
    return [
        _interpolation_problem(path, node, f"{reference!r} is not in the recipe")
        for reference in _REFERENCE.findall(node.value)
        if _find(root, reference) is None
    ]


def _interpolation_problem(path: tuple[str | int, ...], node: Node, message: str) -> Problem:
    found = node.value if len(node.value) < 80 else node.value[:77] + "…"
    return Problem(
        message, ".".join(map(str, path)), found=found, expected="${key.path} of a value in this recipe", mark=node.mark
    )


def _find(root: Node, reference: str) -> tuple[str | int, ...] | None:
    """Return the path that a reference means, or None."""
    node, path = root, []
    for key in reference.strip().split("."):
        step: str | int = int(key) if isinstance(node.value, list) and key.isdigit() else key
        if (
            (isinstance(node.value, dict)
            and step in node.value)
            or (isinstance(node.value, list) and isinstance(step, int) and step < len(node.value))
        ):
            node = node.value[step]
            path.append(step)
        else:
            return None
    return tuple(path)


def _at(root: Node, path: tuple[str | int, ...]) -> Node:
    node = root
    for key in path:
        node = node.value[key]
    return node


def _cost(
    root: Node,
    path: tuple[str | int, ...],
    costs: dict[tuple[str | int, ...], int],
    below: tuple[tuple[str | int, ...], ...],
) -> int:
    """Return how many values, characters and references the value at a path expands to, without expanding it."""
    if path in costs:
        return costs[path]
    if any(path == other[: len(path)] for other in below):
        raise RecursionError
    node = _at(root, path)
    total = 1
    if isinstance(node.value, dict | list):
        keys = list(node.value) if isinstance(node.value, dict) else range(len(node.value))
        total += sum(_cost(root, (*path, key), costs, below) for key in keys)
    elif isinstance(node.value, str):
        total += len(node.value)
        for reference in _REFERENCE.findall(node.value):
            target = _find(root, reference)
            assert target is not None
            total += _cost(root, target, costs, (*below, path))
    costs[path] = total
    return total


def _node_of(value: Any, like: Node) -> Node:
    """Return a plain value as nodes that all stand where the interpolation stands."""
    if isinstance(value, dict):
        return Node({key: _node_of(item, like) for key, item in value.items()}, like.mark, like.mark)
    if isinstance(value, list):
        return Node([_node_of(item, like) for item in value], like.mark, like.mark)
    return Node(deepcopy(value), like.mark, like.key_mark, "" if value is None else str(value))
