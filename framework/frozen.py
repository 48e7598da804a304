"""A policy-gradient agent as it stands at one moment: of a run, of a recipe, or of a recipe after a little training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from framework.environment_variable import environment_variable
from framework.errors import Problem, RecipeError
from framework.learner import Learner, learners
from framework.learners.policy_gradient import PolicyGradient
from framework.loading import load_run
from framework.prepare import prepare
from framework.run import run
from framework.run_directory import RunDirectory
from framework.show import check_recipe


@dataclass(frozen=True)
class Frozen:
    """An agent that does not learn any more.

    Args:
        agent: on the CPU, in evaluation mode.
        name: of the recipe.
        env_steps: that it was trained for.
        directory: the run's; None where there is none.
        notes: what a reader should know, a sentence each.
    """

    agent: PolicyGradient
    name: str
    env_steps: int
    directory: RunDirectory | None
    notes: list[str]


def freeze(
    path: Path, overrides: Sequence[str], steps: int | None, plugins: Sequence[Path], data_directory: Path
) -> Frozen:
    """Return the agent of a run directory, or of a recipe.

    Args:
        path: a run directory, whose weights are taken, or a recipe.
        overrides: of a recipe, `key.path=value`.
        steps: environment steps that a recipe's agent is trained for, in a run that leaves nothing behind; None is
            not at all.
        plugins: files that register parts, of a recipe.
        data_directory: where data would be looked for.

    Raises:
        RecipeError: the recipe is wrong, or is of no policy gradient; a run with what is for recipes.
        KeyboardInterrupt: training was stopped.
    """
    if not _is_recipe(path):
        given = [*overrides, *(["--steps"] if steps is not None else []), *map(str, plugins)]
        if given:
            problem = Problem("a run is taken as it is", found=" ".join(given), expected="a recipe, to change it")
            raise RecipeError([problem])
        loaded = load_run(path)
        agent = _policy_gradient(loaded.built.learner, path)
        return Frozen(agent, loaded.recipe.name, loaded.counters.env_steps, loaded.directory, loaded.notes)
    if steps is not None and steps < 1:
        raise RecipeError([Problem("this value is refused", "--steps", str(steps), "1 or more")])
    recipe, built, broken = check_recipe(path, overrides, plugins, data_directory)
    agent = _policy_gradient(built.learner, path)
    if steps is None:
        return Frozen(agent.eval(), recipe.name, 0, None, [str(plugin) for plugin in broken])
    prepared = prepare(path, [*overrides, f"trainer.max_env_steps={steps}"], plugins, data_directory)
    # What is thrown away is not mirrored either.
    with TemporaryDirectory() as folder, environment_variable("WANDB_MODE", "disabled"):
        summary = run(prepared, Path(folder), Console(quiet=True)).summary
    if summary is None:
        raise KeyboardInterrupt
    agent = _policy_gradient(prepared.built.learner, path).cpu().eval()
    return Frozen(agent, recipe.name, summary["env_steps"], None, prepared.notes)


def _is_recipe(path: Path) -> bool:
    """Return whether this is a file, or what is not there is called like one; anything else is a run, or none."""
    return path.is_file() or (path.suffix in (".yaml", ".yml") and not path.is_dir())


def _policy_gradient(learner: Learner, path: Path) -> PolicyGradient:
    if isinstance(learner, PolicyGradient):
        return learner
    found, message = f"learner: {learners.name_of(learner)}", f"{path}: no estimator of a policy's gradient"
    raise RecipeError([Problem(message, found=found, expected="learner: policy_gradient")])
