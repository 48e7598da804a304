"""From a recipe's path to everything that training needs; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.build import Built, build, build_data
from framework.data import Dataset
from framework.discovery import BrokenPlugin, load_plugins
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
    return Prepared(
        recipe, built, dataset, data.batch_size, list(plugins), broken, _notes(built, dataset, data.batch_size)
    )


def objectives(learner: Learner) -> list[Objective]:
    """Return the objectives among a learner's modules."""
    return [module for module in learner.modules() if isinstance(module, Objective)]


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
