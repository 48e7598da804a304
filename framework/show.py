"""What `fw check`, `list` and `show` print; needs torch, and never Lightning."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from framework.build import Built, build, build_data
from framework.discovery import BrokenPlugin, load_plugins
from framework.document import dump_document
from framework.errors import Problem, RecipeError, listed, nearest
from framework.learner import Learner
from framework.options import REQUIRED, options_of, spelled, written
from framework.prepare import agent_problems, example_problems, objectives
from framework.registry import Entry, registries
from framework.schema import Part, Recipe, Weighted, load_recipe


def check_recipe(
    path: Path, overrides: Sequence[str], plugins: Sequence[Path], data_directory: Path
) -> tuple[Recipe, Built, list[BrokenPlugin]]:
    """Check a recipe and build its parts, from what is known of the data without loading any.

    Returns:
        The recipe, its parts, and the plugins that could not be loaded and are not needed.

    Raises:
        RecipeError: everything that is wrong.
    """
    broken = load_plugins(plugins)
    recipe = load_recipe(path, overrides, broken)
    data = build_data(recipe, data_directory)
    built = build(recipe, data)
    processes = built.trainer.processes * built.trainer.num_nodes
    if data is None:
        problems = list(agent_problems(recipe, built))
    else:
        problems = list(example_problems(recipe, built, data.batch_size, processes))
    if problems:
        raise RecipeError(problems)
    return recipe, built, broken


def describe_recipe(recipe: Recipe, learner: Learner) -> str:
    """Return the resolved recipe, its objective and what that implies, what to know of the numbers, and the papers."""
    lines = [dump_document(recipe.plain())]
    if learner.formula:
        lines.append(f"objective: {learner.formula}")
    for objective in objectives(learner):
        if learner.formula != objective.formula("reconstruction"):  # another bound is no sum of these
            continue
        implied = {"reconstruction": 1.0, **objective.implied_coefficients()}
        lines.append("which puts, at the final weights, on")
        lines += [f"  {quantity:<30}{coefficient:g}" for quantity, coefficient in implied.items()]
    lines += [f"note: {note}" for note in learner.notes]
    return "\n".join([*lines, "", "references:", *(f"  {paper}" for paper in references(recipe))])


def references(recipe: Recipe) -> list[str]:
    """Return the papers that the documentation of a recipe's parts names, each once, in the recipe's order."""
    found = []
    for part in _parts([part for part in (recipe.data, recipe.learner) if part is not None]):
        documentation = inspect.getdoc(part.entry.factory) or ""
        for section in re.findall(r"^Reference: (.*?)(?=\n\s*\n|\Z)", documentation, re.MULTILINE | re.DOTALL):
            found += [" ".join(paper.split()) for paper in section.split(";")]
    return [paper for paper in dict.fromkeys(found) if not paper.startswith("http")]  # a bare address is no paper


def _parts(value: Any) -> Iterator[Part]:
    """Iterate over the parts in a checked recipe's values, those inside others included."""
    if isinstance(value, Part):
        yield value
        yield from _parts(list(value.options.values()))
    elif isinstance(value, Weighted):
        yield from _parts([value.part, value.weight])
    elif isinstance(value, dict):
        yield from _parts(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)


def list_registered(kind: str | None, plugins: Sequence[Path]) -> str:
    """Return the registered names by kind, each with the first line of its documentation.

    Raises:
        RecipeError: there is no such kind.
    """
    broken = load_plugins(plugins)
    known = registries()
    wanted = kind if kind is None or kind in known else _singular(kind)
    if wanted is not None and wanted not in known:
        raise RecipeError(
            [Problem(f"there is no kind {kind!r}", expected=listed(known), write=nearest(kind or "", known))]
        )
    lines = []
    for registry in (known[wanted],) if wanted else known.values():
        lines.append(registry.kind)
        width = max(24, *(len(entry.name) + 2 for entry in registry))
        lines += [f"  {entry.name:<{width}}{_first_line(entry)}" for entry in registry]
    return "\n".join([*lines, *warnings(broken)])


def _singular(kind: str) -> str:
    return kind.removesuffix("ies") + "y" if kind.endswith("ies") else kind.removesuffix("s")


def warnings(broken: Sequence[BrokenPlugin]) -> list[str]:
    """Return a line for each plugin that was left out."""
    return [f"warning: {plugin}" for plugin in broken]


def describe_part(name: str, plugins: Sequence[Path]) -> str:
    """Return a part's options, types, defaults, documentation and place; of every kind that has the name.

    Raises:
        RecipeError: there is no such part.
    """
    broken = load_plugins(plugins)
    found = [registry[name] for registry in registries().values() if name in registry]
    if not found:
        names = {other for registry in registries().values() for other in registry.names()}
        near = nearest(name, names)
        problem = Problem(f"there is no part {name!r}", expected="a name that `fw list` shows", write=near)
        raise RecipeError([problem], map(str, broken))
    return "\n\n".join([*map(_describe, found), *warnings(broken)])


def _describe(entry: Entry) -> str:
    lines = [f"{entry.kind} {entry.name}", f"  {entry.place}", ""]
    lines += [f"  {name}: {'; '.join(words)}" for name, *words in options_in_words(entry)]
    if len(lines) == 3:
        lines.append("  no options")
    return "\n".join([*lines, "", inspect.getdoc(entry.factory) or "(no documentation)"])


def options_in_words(entry: Entry) -> list[tuple[str, ...]]:
    """Return the name of each option of a part, what values it takes, and "required" or its default.

    What the builder supplies has a name, and who supplies it.
    """
    context = registries()[entry.kind].context
    rows: list[tuple[str, ...]] = []
    for option in options_of(entry.factory).values():
        if option.name in context:
            rows.append((option.name, "supplied by the builder"))
        else:
            default = "required" if option.default is REQUIRED else f"default {written(option.default)}"
            rows.append((option.name, spelled(option.annotation), default))
    return rows


def _first_line(entry: Entry) -> str:
    return (inspect.getdoc(entry.factory) or "").split("\n")[0]
