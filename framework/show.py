"""What `fw check`, `list` and `show` print; needs torch, and never Lightning."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from framework.build import Built, build, build_data
from framework.discovery import BrokenPlugin, load_plugins
from framework.document import dump_document
from framework.errors import Problem, RecipeError, listed, nearest
from framework.learner import Learner
from framework.objective import Objective
from framework.options import REQUIRED, options_of, spelled, written
from framework.registry import Entry, registries
from framework.schema import Recipe, load_recipe


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
    return recipe, build(recipe, build_data(recipe, data_directory)), broken


def describe_recipe(recipe: Recipe, learner: Learner) -> str:
    """Return the resolved recipe, its objective as a formula, and the coefficients that the formula implies."""
    lines = [dump_document(recipe.plain())]
    for objective in (module for module in learner.modules() if isinstance(module, Objective)):
        lines.append(f"objective: {objective.formula('reconstruction')}")
        for leaf in objective.leaves:
            lines.append(f"  {leaf.label:<30}{leaf.divergence.estimator}")
        implied = {"reconstruction": 1.0, **objective.implied_coefficients()}
        lines.append("which puts, at the final weights, on")
        lines += [f"  {quantity:<30}{coefficient:g}" for quantity, coefficient in implied.items()]
    lines += [f"note: {note}" for note in learner.notes]
    return "\n".join(lines)


def list_registered(kind: str | None, plugins: Sequence[Path]) -> str:
    """Return the registered names by kind, each with the first line of its documentation.

    Raises:
        RecipeError: there is no such kind.
    """
    broken = load_plugins(plugins)
    known = registries()
    wanted = kind.removesuffix("s") if kind is not None and kind not in known else kind
    if wanted is not None and wanted not in known:
        raise RecipeError(
            [Problem(f"there is no kind {kind!r}", expected=listed(known), write=nearest(kind or "", known))]
        )
    lines = []
    for registry in (known[wanted],) if wanted else known.values():
        lines.append(registry.kind)
        lines += [f"  {entry.name:<24}{_first_line(entry)}" for entry in registry]
    return "\n".join([*lines, *warnings(broken)])


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
    context = registries()[entry.kind].context
    lines = [f"{entry.kind} {entry.name}", f"  {entry.place}", ""]
    for option in options_of(entry.factory).values():
        if option.name in context:
            meaning = "supplied by the builder"
        else:
            default = "required" if option.default is REQUIRED else f"default {written(option.default)}"
            meaning = f"{spelled(option.annotation)}; {default}"
        lines.append(f"  {option.name}: {meaning}")
    if len(lines) == 3:
        lines.append("  no options")
    return "\n".join([*lines, "", inspect.getdoc(entry.factory) or "(no documentation)"])


def _first_line(entry: Entry) -> str:
    return (inspect.getdoc(entry.factory) or "").split("\n")[0]
