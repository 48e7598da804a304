"""Going on with a run where it was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from framework import checkpoint
from framework.distributed import rank, same_on_all_ranks
from framework.errors import Problem, RecipeError
from framework.launch import Place
from framework.loading import check_same_data, open_run, plugin_files
from framework.objective import Objective, label_of
from framework.position import Position
from framework.prepare import Prepared, prepare
from framework.run import Outcome, train
from framework.run_directory import RunDirectory
from framework.schema import Part, Weighted
from framework.trainer import LIMITS

FIXED = ("data", "environment", "seed", "name", "learner")  # what makes it another run


@dataclass(frozen=True)
class Resumption:
    """A run that is ready to go on.

    Args:
        prepared: its recipe, with the overrides, its data and its parts.
        directory: the run's.
        state: the checkpoint to go on from; None goes on from the start.
        sessions: the environments of the sessions before.
    """

    prepared: Prepared
    directory: RunDirectory
    state: dict[str, Any] | None
    sessions: list[dict[str, Any]]


def prepare_resumption(
    path: Path,
    overrides: Sequence[str],
    data_directory: Path,
    plugins: Sequence[Path] = (),
    place: Place | None = None,
) -> Resumption:
    """Make ready to go on from a run's last whole checkpoint, or from the start if it was killed before the first.

    Args:
        path: the run directory; every process reads it.
        overrides: `key.path=value`, such as `trainer.max_epochs=50`.
        data_directory: where the data are looked for.
        plugins: in place of the plugin files that the run was started with.
        place: where this process stands among several that train one model.

    Raises:
        RecipeError: there is no such run, or an override is wrong.
        DataError: the data are not those of the run.
        CheckpointError: no checkpoint can be read.
    """
    directory = open_run(path)
    if fixed := [override for override in overrides if override.split("=")[0].split(".")[0] in FIXED]:
        message = "a resumed run keeps its name, its seed, its learner, and its data or environment"
        raise RecipeError([Problem(message, found=fixed[0], write="a new run: fw run")])
    sessions = directory.sessions()
    notes, files = plugin_files(sessions[-1], plugins)
    state = checkpoint.load_last(directory.checkpoints, notes.append) if directory.has_checkpoint() else None
    prepared = prepare(directory.recipe, overrides, files, data_directory, place)
    check_same_data(prepared.experience.source, sessions[0])
    if not same_on_all_ranks(str(state and state["position"])):
        found = (
            f"step {state['position']['counters']['optimizer_steps']} in one of them"
            if state
            else "none in one of them"
        )
        expected = "a run directory that every machine sees as it is"
        raise RecipeError([Problem("the processes do not find the same checkpoint", "", found, expected)])
    if state is not None:
        notes += _load_weights(prepared, state)
        notes += [*_foreign_statistics(prepared, state), *_other_objective(prepared, state)]
    prepared.notes.extend(notes)
    return Resumption(prepared, directory, state, sessions)


def resume(resumption: Resumption, console: Console) -> Outcome:
    """Go on with a run; its first process shows progress on the console."""
    directory = resumption.directory if rank() == 0 else None
    return train(resumption.prepared, directory, console, state=resumption.state, sessions=resumption.sessions)


def _load_weights(prepared: Prepared, state: dict[str, Any]) -> list[str]:
    """Load what the checkpoint has for the model and for each term; return a sentence for each term that it has not."""
    learner = prepared.built.learner
    saved, now = dict(state["learner"]), learner.state_dict()
    notes = []
    for name, module in learner.named_modules():
        if not isinstance(module, Objective):
            continue
        terms = f"{name}.divergences."
        was, has = (_terms_of(weights, terms) for weights in (saved, now))
        for term in sorted(was.keys() - has.keys()):
            for key in was[term]:
                del saved[key]
            notes.append(f"there is no term {term} any more: its weights are left behind")
        for term in sorted(has.keys() - was.keys()):
            saved |= {key: now[key] for key in has[term]}
            notes.append(f"the term {term} is new: its weights start untrained")
    try:
        learner.load_state_dict(saved)
    except RuntimeError as error:
        message = "the checkpoint does not fit the recipe: " + " ".join(str(error).split())
        raise RecipeError([Problem(message, expected="overrides that leave the networks as they are")]) from error
    return notes


def _terms_of(weights: Mapping[str, Any], prefix: str) -> dict[str, list[str]]:
    """Return the names of the weights below a prefix, by the term that they belong to."""
    terms: dict[str, list[str]] = {}
    for key in weights:
        if key.startswith(prefix):
            terms.setdefault(label_of(key.removeprefix(prefix).split(".")[0]), []).append(key)
    return terms


def _foreign_statistics(prepared: Prepared, state: dict[str, Any]) -> list[str]:
    """Take the statistics of other algorithms out of a checkpoint; return a sentence for each."""
    notes = []
    optimizers, states = prepared.built.learner.optimizers(), state["optimizers"]
    for name in sorted(set(states) - set(optimizers)):
        del states[name]
        notes.append(f"there is no optimizer {name} any more: its statistics are left behind")
    for name, optimizer in optimizers.items():
        if name not in states:
            notes.append(f"the optimizer {name} is new: it starts without statistics")
        elif not optimizer.suits(states[name]):
            was, now = states.pop(name)["algorithm"], type(optimizer.algorithm).__name__
            notes.append(f"the optimizer {name} was {was} and is {now}: it starts without statistics")
    return notes


def _other_objective(prepared: Prepared, state: dict[str, Any]) -> list[str]:
    """Where the objective may be another, take out of a checkpoint what is of the old one; return what to say."""
    recipe = prepared.recipe
    was, now = state["recipe"], recipe.plain()
    changed = [
        key
        for key, part in recipe.learner.options.items()
        if not _is_optimizer(part) and _without_optimizers(part, now[key]) != _without_optimizers(part, was[key])
    ]
    if not changed:
        return []
    position, limits = Position.of(state["position"]), prepared.built.trainer
    if position.has_reached(limits, time_is_up=position.has_run_out(limits)):
        message = "the run is at its end, and nothing would be trained under what is changed"
        limit = next((name for name in LIMITS if getattr(limits, name) is not None), LIMITS[0])
        expected, write = "a later end beside it", f"trainer.{limit}=…"
        raise RecipeError([Problem(message, found=", ".join(changed), expected=expected, write=write)])
    # Sums of other metrics, and a best value of another objective, would be compared with the new ones.
    empty = {"window": {}, "window_steps": 0, "window_seconds": 0.0}
    state["position"] |= {**empty, "best": float("inf"), "validations_since_best": 0}
    return [f"{', '.join(changed)} changed: the best checkpoint is chosen anew"]


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Part) and value.entry.kind == "optimizer"


def _without_optimizers(value: Any, plain: Any) -> Any:
    """Return a plain part of a recipe without the optimisers that the checked one has in it."""
    options = value.part.options if isinstance(value, Weighted) else value.options if isinstance(value, Part) else value
    if not isinstance(options, dict) or not isinstance(plain, dict):
        return plain
    return {
        key: _without_optimizers(options.get(key), inside)
        for key, inside in plain.items()
        if not _is_optimizer(options.get(key))
    }
