"""From a recipe's path to everything that training needs; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from framework.agent import Agent
from framework.build import Built, build, build_data
from framework.data import Dataset
from framework.discovery import BrokenPlugin, load_plugins
from framework.distributed import first_on_each_node, same_on_all_ranks
from framework.errors import IncompatibleParts, OptionError, PluginError, Problem, RecipeError
from framework.examples import Examples
from framework.experience import Experience
from framework.launch import Place
from framework.learner import ExampleLearner, Learner
from framework.objective import Objective
from framework.rollouts import Rollouts
from framework.schedule import Schedule
from framework.schema import Recipe, load_recipe
from framework.trainer import LIMITS, OF_ENVIRONMENTS, OF_EXAMPLES, Trainer
from framework.trial import try_step


@dataclass(frozen=True)
class Prepared:
    """A recipe with everything that it needs, ready to be trained.

    Args:
        recipe: the checked recipe.
        built: its parts.
        experience: what they learn from.
        processes: those that share each minibatch.
        leaves_out: whether a loss leaves parameters without a gradient.
        plugins: the files that were asked for.
        broken: the plugins that could not be loaded and are not needed.
        notes: what a reader of the run's numbers should know, a sentence each.
    """

    recipe: Recipe
    built: Built
    experience: Experience
    processes: int
    leaves_out: bool
    plugins: list[Path]
    broken: list[BrokenPlugin]
    notes: list[str]


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
    if data is None:
        return _prepare_agent(recipe, tried, list(plugins), broken, place)
    learner = _examples_of(tried.learner)
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
        *example_problems(recipe, built, data.batch_size, processes),
    ]
    if problems:
        raise RecipeError(problems)
    trial = try_step(recipe, learner, built.trainer, dataset, data.batch_size)
    if trial.problems:
        raise RecipeError(trial.problems)
    if built.trainer.precision == 64:
        built.learner.double()
    examples = Examples(
        learner=_examples_of(built.learner),
        dataset=dataset,
        batch_size=data.batch_size,
        seed=recipe.seed,
        validate_every=built.trainer.validate_every,
        dtype=torch.float64 if built.trainer.precision == 64 else None,
    )
    notes = _notes(built, dataset, data.batch_size)
    if trial.unlearned:
        notes.append(f"no loss has a gradient for {', '.join(trial.unlearned)}: they stay as they start")
    return Prepared(recipe, built, examples, processes, trial.leaves_out, list(plugins), broken, notes)


def _prepare_agent(
    recipe: Recipe, built: Built, plugins: list[Path], broken: list[BrokenPlugin], place: Place | None
) -> Prepared:
    """Make an agent ready; its environments are stepped in one process, which is also the one that learns."""
    problems = [*agent_problems(recipe, built), *_device_problems(recipe, built, None)]
    if place is not None and place.world_size > 1:
        message = f"learner {recipe.learner.entry.name!r} acts in environments, in one process"
        found, write = f"{place.world_size} processes, started together", "fw run, without torchrun or srun"
        problems.append(Problem(message, "", found, "one process", write))
    if problems:
        raise RecipeError(problems)
    try:
        rollouts = Rollouts(agent=_agent_of(built.learner), seed=recipe.seed)
        rollouts.try_out()
    except IncompatibleParts as error:
        raise RecipeError([recipe.refused(misfit) for misfit in error.misfits]) from error
    except OptionError as error:  # of a part, which does not know where it stands in the recipe
        raise RecipeError([Problem(str(error))]) from error
    notes = list(built.learner.notes)
    if not rollouts.restorable:
        notes.append(
            "the state of these environments cannot be saved: a run that is resumed begins new episodes in them, and "
            "goes on with other ones than an unbroken run would have"
        )
    return Prepared(recipe, built, rollouts, 1, False, plugins, broken, notes)


def agent_problems(recipe: Recipe, built: Built) -> Iterator[Problem]:
    """Iterate over what a trainer's section asks for that an agent does not have."""
    limits, agent = built.trainer, _agent_of(built.learner)
    if agent.steps == 0:
        yield from _foreign_limits(recipe, limits, (*OF_EXAMPLES, *OF_ENVIRONMENTS), "learns without acting")
    else:
        yield from _foreign_limits(recipe, limits, OF_EXAMPLES, "learns from environments")
    yield from _endless_problems(recipe, agent)
    yield from _judging_problems(recipe, limits, agent)
    if limits.gradient_clip is not None and not agent.optimizers():
        where, message = "trainer.gradient_clip", f"learner {recipe.learner.entry.name!r} has no gradients"
        yield Problem(message, where, str(limits.gradient_clip), "null", "null", recipe.mark(where))
    elif limits.gradient_clip is not None and agent.environment.independent:
        where, message = "trainer.gradient_clip", "the norm would be of the gradients of all runs together"
        yield Problem(message, where, str(limits.gradient_clip), "null", "null", recipe.mark(where))
    alone = {"devices": ("auto", 1), "num_nodes": (1,), "precision": (32,)}
    for option, allowed in alone.items():
        if (found := getattr(limits, option)) not in allowed:
            where, expected = f"trainer.{option}", " or ".join(map(str, allowed))
            message = f"learner {recipe.learner.entry.name!r} acts in environments, in one process and in float32"
            yield Problem(message, where, str(found), expected, str(allowed[0]), recipe.mark(where))


def _endless_problems(recipe: Recipe, agent: Agent) -> Iterator[Problem]:
    """Iterate over what lets a rollout of whole episodes go on for ever."""
    environment = agent.environment
    if agent.steps is None and environment.limit is None:
        where, message = "environment.max_episode_steps", "a rollout of whole episodes ends when all of them have"
        found = f"null, and {environment.id} has no limit of its own: an episode may go on for ever"
        expected = "the number of steps after which an episode is truncated"
        yield Problem(message, where, found, expected, "max_episode_steps: 1000", recipe.mark(where))


def _judging_problems(recipe: Recipe, limits: Trainer, agent: Agent) -> Iterator[Problem]:
    """Iterate over what asks for evaluations that there are none of."""
    evaluation, every = agent.evaluation, "evaluation: {every: …}, in environment steps"
    if limits.validate_every != 1:
        where, found = "trainer.validate_every", str(limits.validate_every)
        yield Problem("an agent has no epochs", where, found, "no such key", every, recipe.mark(where))
    if limits.early_stopping is not None and (evaluation is None or evaluation.every is None):
        where, message = "trainer.early_stopping", "patience is for evaluations in training, and there are none"
        yield Problem(message, where, str(limits.early_stopping), "null, or evaluations", every, recipe.mark(where))
    elif limits.keeps_best and evaluation is None:
        where, message = "trainer.weights", "the best weights are those of an evaluation, and there is none"
        yield Problem(message, where, "best", "last, or an evaluation", "last", recipe.mark(where))


def example_problems(recipe: Recipe, built: Built, batch_size: int, processes: int) -> Iterator[Problem]:
    """Iterate over what a trainer's section asks for that a learner of examples does not have, or cannot share."""
    yield from _foreign_limits(recipe, built.trainer, OF_ENVIRONMENTS, "learns from a data set")
    yield from sharing_problems(recipe, built, batch_size, processes)


def _examples_of(learner: Learner) -> ExampleLearner:
    if isinstance(learner, ExampleLearner):
        return learner
    name = type(learner).__name__
    raise PluginError(f"learner {name} asks for facts of the data: it must derive from framework.ExampleLearner")


def _agent_of(learner: Learner) -> Agent:
    if isinstance(learner, Agent):
        return learner
    name = type(learner).__name__
    raise PluginError(f"learner {name} asks for no facts of data: it must derive from framework.Agent")


def _foreign_limits(recipe: Recipe, limits: Trainer, options: Sequence[str], what: str) -> Iterator[Problem]:
    for option in options:
        if getattr(limits, option) is not None:
            where, message = f"trainer.{option}", f"learner {recipe.learner.entry.name!r} {what}"
            found, others = str(getattr(limits, option)), [one for one in LIMITS if one not in options]
            expected = f"one of {', '.join(others)}" if option in LIMITS else "null"
            yield Problem(message, where, found, expected, mark=recipe.mark(where))


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
