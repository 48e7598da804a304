"""A run's learner without training it: the parts of its recipe, with the weights of its checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from framework import checkpoint
from framework.build import Built, build, build_data
from framework.data import Data, DataError, Dataset, Source, default_directory
from framework.discovery import load_plugins
from framework.errors import Problem, RecipeError
from framework.files import sha256
from framework.group_directory import GroupDirectory
from framework.learner import Learner
from framework.run_directory import RunDirectory
from framework.schedule import Counters
from framework.schema import Recipe, load_recipe

Weights = Literal["last", "best"]


@dataclass(frozen=True)
class LoadedRun:
    """A run as it was left.

    Args:
        directory: the run's.
        recipe: its recipe.
        built: its parts, with the checkpoint's weights, on the CPU.
        data: its data set, where it has one.
        dataset: what is in that, where it was asked for.
        weights: the name of the checkpoint.
        counters: how far training had come with them.
        notes: what a reader of the numbers should know, a sentence each.
    """

    directory: RunDirectory
    recipe: Recipe
    built: Built
    data: Data | None
    dataset: Dataset | None
    weights: str
    counters: Counters
    notes: list[str]


def load(run_directory: str | Path, *, weights: Weights | None = None) -> Learner:
    """Return the learner of a run, with the weights that it was left with.

    No data are loaded. The plugin files that the run was started with are imported: load runs that you trust. A
    checkpoint itself holds nothing that could run.

    Args:
        run_directory: what `fw run` made.
        weights: `last`, or `best` at a validation; None is what the run was tested with, or the last if it has not come
            to its end.

    Returns:
        The learner, on the CPU and in evaluation mode.

    Raises:
        RecipeError: there is no such run, or its recipe is not right any more.
        CheckpointError: the checkpoint is missing or damaged.

    Example:
        >>> learner = framework.load("runs/vae_mnist/20261121-101500-3f2a")  # doctest: +SKIP
        >>> learner.prior().sample((64,)).shape  # doctest: +SKIP
        torch.Size([64, 16])
    """
    return load_run(Path(run_directory), weights).built.learner


def load_run(
    path: Path, weights: Weights | None = None, data_directory: Path | None = None, *, with_data: bool = False
) -> LoadedRun:
    """Return a run as it was left.

    Args:
        path: the run directory; nothing is written to it.
        weights: as of `load`.
        data_directory: where the data are looked for; None is the default.
        with_data: whether the data are loaded, where the learner has any.

    Raises:
        RecipeError: there is no such run, or its recipe is not right any more.
        DataError: the data cannot be had, or are not those of the run.
        CheckpointError: the checkpoint is missing or damaged.
    """
    directory = open_run(path)
    sessions = directory.sessions()
    notes, files = plugin_files(sessions[-1], [])
    broken = load_plugins(files)
    recipe = load_recipe(directory.recipe, [], broken)
    data = build_data(recipe, data_directory or default_directory(dict(os.environ)))
    dataset = data.load() if data is not None and with_data else None
    if dataset is not None:
        check_same_data(dataset.source, sessions[0])
        notes += dataset.source.fallbacks
    built = build(recipe, data, dataset)
    chosen = f"{weights}.ckpt" if weights else _tested_with(directory)
    if chosen == checkpoint.LAST:
        state = checkpoint.load_last(directory.checkpoints, notes.append)
    else:
        state = checkpoint.load(directory.checkpoints / chosen)
    if built.trainer.precision == 64:
        built.learner.double()
    try:
        built.learner.load_state_dict(state["learner"])
    except RuntimeError as error:
        message = "the checkpoint does not fit the recipe: " + " ".join(str(error).split())
        raise RecipeError([Problem(message, expected=f"{directory.recipe} as `fw run` wrote it")]) from error
    built.learner.eval()
    counters = Counters(**state["position"]["counters"])
    return LoadedRun(directory, recipe, built, data, dataset, chosen, counters, notes)


def open_run(path: Path) -> RunDirectory:
    """Return a run directory that is there.

    Raises:
        RecipeError: it is not, or it is a group's, whose runs are in it.
    """
    directory = RunDirectory(path)
    if not directory.environment.is_file():
        if runs := GroupDirectory(path).seeds():
            message, write = f"{path} is a group of runs, one for each seed", str(path / f"seed-{runs[0]}")
            raise RecipeError([Problem(message, expected="one of its runs", write=write)])
        raise RecipeError([Problem(f"{path}: no run directory", expected="a directory that `fw run` made")])
    return directory


def plugin_files(session: dict[str, Any], given: Sequence[Path]) -> tuple[list[str], list[Path]]:
    """Return what to say about the plugin files of a run's session, and the files; those given take their place."""
    known = {plugin["file"]: plugin["sha256"] for plugin in session["plugins"]}
    files = list(given) or [Path(file) for file in known]
    notes = [
        f"the plugin {file} is not what it was when the run was last trained"
        for file in files
        if file.is_file() and sha256(file) not in known.values()
    ]
    return notes, files


def check_same_data(source: Source, session: dict[str, Any]) -> None:
    """Check that data are those of a run's session.

    Raises:
        DataError: they are not.
    """
    if source.sha256 != session["data"]["sha256"]:
        raise DataError(
            f"the run's data came from {session['data']['location']}; what is found now, at {source.location}, is not "
            "the same"
        )


def _tested_with(directory: RunDirectory) -> str:
    """Return the name of the checkpoint that a run's final numbers are of; of one that goes on, the last one's."""
    if not directory.summary.is_file():
        return checkpoint.LAST
    return str(json.loads(directory.summary.read_text(encoding="utf-8"))["weights"])
