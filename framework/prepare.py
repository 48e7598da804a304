"""From a recipe's path to everything that training needs; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from framework.build import Built, build, build_data
from framework.data import Dataset
from framework.discovery import BrokenPlugin, load_plugins
from framework.errors import Problem, RecipeError
from framework.learner import Learner
from framework.objective import Objective
from framework.schedule import Schedule
from framework.schema import Recipe, load_recipe


@dataclass(frozen=True)
class Prepared:
    """A recipe with everything that it needs, ready to be trained."""

    recipe: Recipe
    built: Built
    dataset: Dataset
    batch_size: int
    plugins: list[Path]
    broken: list[BrokenPlugin]
    notes: list[str]

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.train) // self.batch_size


def prepare(recipe_path: Path, overrides: Sequence[str], plugins: Sequence[Path], data_directory: Path) -> Prepared:
    """Check a recipe, load its data and build its parts; nothing is written.

    Raises:
        RecipeError: the recipe is wrong.
        DataError: the data cannot be had.
    """
    broken = load_plugins(plugins)
    recipe = load_recipe(recipe_path, overrides, broken)
    data = build_data(recipe, data_directory)
    build(recipe, data)  # whatever is wrong shows before anything is downloaded
    dataset = data.load()
    built = build(recipe, data, dataset)
    problems = [*_batch_problems(recipe, built, dataset, data.batch_size), *_device_problems(recipe, built)]
    if problems:
        raise RecipeError(problems)
    notes = _notes(built, dataset, data.batch_size)
    return Prepared(recipe, built, dataset, data.batch_size, list(plugins), broken, notes)


def objectives(learner: Learner) -> list[Objective]:
    """Return the objectives among a learner's modules."""
    return [module for module in learner.modules() if isinstance(module, Objective)]


def _batch_problems(recipe: Recipe, built: Built, dataset: Dataset, batch_size: int) -> Iterator[Problem]:
    """Try the smallest batch that training or evaluation will make: a divergence between examples may need more."""
    smallest = min(batch_size, len(dataset.validation), len(dataset.test))
    try:
        with torch.no_grad():
            built.learner.evaluate(torch.zeros(smallest, *dataset.facts.input_shape), lambda site: None)
    except ValueError as error:
        found = f"batches of {smallest} ({len(dataset.validation)} validation, {len(dataset.test)} test examples)"
        where = "data.batch_size"
        yield Problem(str(error), where, found, "a larger batch_size and larger sets", mark=recipe.mark(where))


def _device_problems(recipe: Recipe, built: Built) -> Iterator[Problem]:
    if built.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        where = "trainer.accelerator"
        yield Problem("there is no GPU here", where, "gpu", "auto or cpu", "auto", recipe.mark(where))


def _notes(built: Built, dataset: Dataset, batch_size: int) -> list[str]:
    notes = [*dataset.source.notes, *built.learner.notes]
    size = len(dataset.train)
    if size % batch_size:
        notes.append(
            f"the last {size % batch_size} examples of each epoch's order make no whole batch and are left out"
        )
    limits = built.trainer
    ends = [limits.max_epochs and limits.max_epochs * (size // batch_size), limits.max_steps]
    end = min((step for step in ends if step), default=None)
    for objective in objectives(built.learner):
        for leaf in objective.leaves:
            for what, number in (("weight", leaf.weight), ("capacity", leaf.capacity)):
                if end is not None and isinstance(number, Schedule) and number.steps > end:
                    notes.append(
                        f"the {what} of {leaf.label} ends at step {number.steps}, after training does, at {end}; "
                        "validation and test take its final value all the same"
                    )
    return notes
