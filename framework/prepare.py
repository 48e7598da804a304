"""From a recipe's path to everything that training needs; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from framework.build import Built, build, build_data
from framework.data import Dataset
from framework.discovery import BrokenPlugin, load_plugins
from framework.distributed import first_on_each_node, same_on_all_ranks
from framework.errors import Problem, RecipeError
from framework.launch import Place
from framework.learner import Learner
from framework.objective import Objective
from framework.schedule import Schedule
from framework.schema import Recipe, load_recipe
from framework.trial import try_step


@dataclass(frozen=True)
class Prepared:
    """A recipe with everything that it needs, ready to be trained.

    Args:
        recipe: the checked recipe.
        built: its parts.
        dataset: its data.
        batch_size: examples in a minibatch, over all processes.
        processes: those that share each minibatch.
        leaves_out: whether a loss leaves parameters without a gradient.
        plugins: the files that were asked for.
        broken: the plugins that could not be loaded and are not needed.
        notes: what a reader of the run's numbers should know, a sentence each.
    """

    recipe: Recipe
    built: Built
    dataset: Dataset
    batch_size: int
    processes: int
    leaves_out: bool
    plugins: list[Path]
    broken: list[BrokenPlugin]
    notes: list[str]

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.train) // self.batch_size


def prepare(
    recipe_path: Path,
    overrides: Sequence[str],
    plugins: Sequence[Path],
    data_directory: Path,
    place: Place | None = None,
) -> Prepared:
    """Check a recipe, load its data and build its parts; nothing is written.

    Args:
        recipe_path: the YAML file.
        overrides: `key.path=value`.
        plugins: files that register parts.
        data_directory: where the data are looked for.
        place: where this process stands among several that train one model and have met; None is alone, or the
            process that will start the others.

    Raises:
        RecipeError: the recipe is wrong.
        DataError: the data cannot be had.
    """
    broken = load_plugins(plugins)
    recipe = load_recipe(recipe_path, overrides, broken)
    data = build_data(recipe, data_directory)
    tried = build(recipe, data)  # whatever is wrong shows before anything is downloaded
    with first_on_each_node(place):  # one process downloads, and the others find what it has written
        dataset = data.load()
    if not same_on_all_ranks(f"{recipe.plain()} {dataset.source.sha256} {len(dataset.train)}"):
        message = "the processes have not read the same recipe and the same data"
        found = f"{dataset.source.description}, from {dataset.source.location}, in process {place.rank if place else 0}"
        raise RecipeError([Problem(message, found=found, expected="the same files on all machines")])
    built = build(recipe, data, dataset)
    processes = place.world_size if place else built.trainer.processes * built.trainer.num_nodes
    problems = [
        *_device_problems(recipe, built, place),
        *sharing_problems(recipe, built, data.batch_size, processes),
    ]
    if problems:
        raise RecipeError(problems)
    trial = try_step(recipe, tried.learner, built.trainer, dataset, data.batch_size)
    if trial.problems:
        raise RecipeError(trial.problems)
    if built.trainer.precision == 64:
        built.learner.double()
    notes = _notes(built, dataset, data.batch_size)
    return Prepared(recipe, built, dataset, data.batch_size, processes, trial.leaves_out, list(plugins), broken, notes)


def objectives(learner: Learner) -> list[Objective]:
    """Return the objectives among a learner's modules."""
    return [module for module in learner.modules() if isinstance(module, Objective)]


def _device_problems(recipe: Recipe, built: Built, place: Place | None) -> Iterator[Problem]:
    limits = built.trainer
    devices, nodes = "trainer.devices", "trainer.num_nodes"
    if limits.accelerator == "gpu" and not torch.cuda.is_available():
        where = "trainer.accelerator"
        yield Problem("there is no GPU here", where, "gpu", "auto or cpu", "auto", recipe.mark(where))
    elif place is None and limits.on_gpu and limits.processes > (count := torch.cuda.device_count()):
        found = str(limits.devices)
        yield Problem(
            "there are not so many GPUs here", devices, found, f"{count} or fewer", "auto", recipe.mark(devices)
        )
    elif place is not None and limits.on_gpu and place.local_world_size > (count := torch.cuda.device_count()):
        message = f"{place.local_world_size} processes were started on this machine, for a GPU each"
        found = f"{count} that this process sees"
        expected = "fewer processes, or all of the machine's GPUs visible to each (docs/scaling.md)"
        write = f"torchrun --nproc-per-node={count} …, or srun --gpus-per-node={place.local_world_size} …"
        yield Problem(message, devices, found, expected, write, recipe.mark(devices))
    if place is None:
        if limits.num_nodes > 1:
            expected = "to be started on each machine by torchrun or srun (docs/scaling.md)"
            write = f"torchrun --nnodes={limits.num_nodes} --nproc-per-node={limits.processes} -m framework run …"
            message = "several machines need somebody to start the processes"
            yield Problem(message, nodes, str(limits.num_nodes), expected, write, recipe.mark(nodes))
        return
    here, machines = place.local_world_size, place.world_size // place.local_world_size
    if place.world_size % here:
        message, found = "each machine has equally many processes", f"{here} here, {place.world_size} in all"
        yield Problem(message, devices, found, "an equal number on each", mark=recipe.mark(devices))
        return
    if limits.devices not in ("auto", here):
        message, found = f"{here} processes were started on this machine", str(limits.devices)
        yield Problem(message, devices, found, f"auto or {here}", f"{devices}={here}", recipe.mark(devices))
    if limits.num_nodes != machines:
        message, found = f"the processes run on {machines} machine{'s' if machines > 1 else ''}", str(limits.num_nodes)
        yield Problem(message, nodes, found, str(machines), f"{nodes}={machines}", recipe.mark(nodes))


def sharing_problems(recipe: Recipe, built: Built, batch_size: int, processes: int) -> Iterator[Problem]:
    """Iterate over what keeps a batch from being cut into equal parts that give the same step."""
    where, mark = "data.batch_size", recipe.mark("data.batch_size")
    if batch_size % processes:
        fitting = max(processes, round(batch_size / processes) * processes)
        message = f"a batch is shared by {processes} processes in equal parts"
        yield Problem(message, where, str(batch_size), f"a multiple of {processes}", str(fitting), mark)
        return
    microbatch, own = built.trainer.microbatch, batch_size // processes
    if microbatch is None or microbatch == own:
        return
    where, mark = "trainer.microbatch", recipe.mark("trainer.microbatch")
    if own % microbatch:
        message = f"each process's {own} examples of a batch go through the networks in equal parts"
        fitting = next(size for size in range(min(microbatch, own), 0, -1) if own % size == 0)
        yield Problem(message, where, str(microbatch), f"a divisor of {own}", str(fitting), mark)
    for objective in objectives(built.learner):
        for leaf in objective.leaves:
            if leaf.divergence.aggregate or leaf.capacity is not None:
                what = "compares examples of the whole batch" if leaf.divergence.aggregate else "has a capacity"
                message = f"{leaf.label} {what}, and a microbatch does not have them at hand"
                expected = "no microbatch, a smaller batch_size, or more processes"
                yield Problem(message, where, str(microbatch), expected, "null", mark)


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
