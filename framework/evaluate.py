"""How good a run is: whole episodes of its agent, or the test set, judged anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from framework.agent import Agent
from framework.episodes import LONGEST, Episode, play, share_cut
from framework.errors import Problem, RecipeError
from framework.examples import Examples
from framework.learner import ExampleLearner, Learner
from framework.learners.policy_gradient import PolicyGradient
from framework.loading import LoadedRun, Weights, load_run
from framework.randomness import key

EPISODES, SEED = 100, 0  # where nothing else is asked for
STREAM = "fw evaluate"  # no stream of training's: its own evaluations are of other episodes


def evaluate(
    path: Path,
    *,
    episodes: int | None = None,
    sampled: bool = False,
    seed: int | None = None,
    weights: Weights | None = None,
    data_directory: Path | None = None,
) -> dict[str, Any]:
    """Judge a run with the weights of a checkpoint; nothing is written.

    An agent plays whole episodes in fresh environments, with other seeds than training's own evaluations. A learner of
    examples is judged on the test set, which gives the metrics of the run's summary again.

    Args:
        path: the run directory.
        episodes: of an agent, how many, 1 or more; None is as many as in training's own evaluations, or 100.
        sampled: whether an agent draws its actions as it did in training, instead of taking the likeliest.
        seed: of the environments and the draws; None is 0.
        weights: `last` or `best`; None is what the run was tested with, or the last if it has not come to its end.
        data_directory: where a data set is looked for; None is the default.

    Returns:
        Plain containers: `run`, `weights`, `step` (the optimiser step of the weights), `notes`; and of an agent
        `episodes` (how many), `sampled`, `seed`, `return` (the mean) with `return_standard_error` (None of one alone),
        `return_minimum`, `return_maximum`, and `length` (the mean, in steps); of a learner of examples `test/…`.

    Raises:
        RecipeError: there is no such run, or an option is not for it.
        OSError: data or checkpoint cannot be had.
    """
    if episodes is not None and episodes < 1:
        raise RecipeError([Problem("this value is refused", "--episodes", str(episodes), "1 or more")])
    loaded = load_run(path, weights, data_directory, with_data=True)
    learner = loaded.built.learner
    found: dict[str, Any] = {
        "run": str(path),
        "weights": loaded.weights,
        "step": loaded.counters.optimizer_steps,
        "notes": loaded.notes,
    }
    if isinstance(learner, Agent):
        count, chosen = _count(learner, episodes), SEED if seed is None else seed
        played = play(learner, count, seed=key(chosen, STREAM, 0), greedy=not sampled) or []  # nobody stops it
        found["notes"] = [*found["notes"], *_cautions(learner, sampled)]
        cut = share_cut(learner.environment, played)
        return {**found, "sampled": sampled, "seed": chosen, **_statistics(played), **({"cut": cut} if cut else {})}
    _refuse_what_is_for_agents(learner, {"--episodes": episodes, "--sampled": sampled or None, "--seed": seed})
    return {**found, **_on_test_set(loaded)}


def describe(found: dict[str, Any]) -> str:
    """Return what `evaluate` has found, for people."""
    lines = [f"{found['run']}: {found['weights']}, step {found['step']:,}"]
    if "episodes" in found:
        manner = "actions drawn" if found["sampled"] else "the likeliest actions"
        error = found["return_standard_error"]
        spread = "" if error is None else f" ± {error:.2f} (standard error)"
        lowest, highest = found["return_minimum"], found["return_maximum"]
        lines += [
            f"{found['episodes']} whole episodes, {manner}, seed {found['seed']}",
            f"  return   {found['return']:.2f}{spread}, from {lowest:g} to {highest:g}",
            f"  length   {found['length']:.1f} steps",
        ]
        if "cut" in found:
            lines += [f"  cut      {found['cut']:.0%} of them after {LONGEST:,} steps: they had not ended"]
    else:
        lines += [f"  {name:<28}{value:.6g}" for name, value in found.items() if name.startswith("test/")]
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])


def _count(agent: Agent, episodes: int | None) -> int:
    if episodes is not None:
        return episodes
    return EPISODES if agent.evaluation is None else agent.evaluation.episodes


def _cautions(agent: Agent, sampled: bool) -> list[str]:
    """Return what to know of the likeliest actions where a policy has a table: many tasks want it to mix them."""
    if sampled or not isinstance(agent, PolicyGradient) or agent.trunk is not None:
        return []
    if not isinstance(agent.environment.observation_space, Discrete):
        return []
    return ["the policy is a table of probabilities, of which only the likeliest action was taken; it draws: --sampled"]


def _statistics(played: list[Episode]) -> dict[str, Any]:
    returns: Tensor = torch.tensor([total for total, _ in played], dtype=torch.float64)
    return {
        "episodes": len(played),
        "return": float(returns.mean()),
        "return_standard_error": float(returns.std()) / math.sqrt(len(played)) if len(played) > 1 else None,
        "return_minimum": float(returns.min()),
        "return_maximum": float(returns.max()),
        "length": sum(length for _, length in played) / len(played),
    }


def _refuse_what_is_for_agents(learner: Learner, options: dict[str, object]) -> None:
    name = type(learner).__name__
    if given := [option for option, value in options.items() if value is not None]:
        message = f"{name} learns from examples, and is judged on the test set: it plays no episodes"
        raise RecipeError([Problem(message, found=" ".join(given), expected="no such option")])


def _on_test_set(loaded: LoadedRun) -> dict[str, float]:
    """Return the metrics of the test set, as those of the run's summary were computed."""
    learner, data, dataset = loaded.built.learner, loaded.data, loaded.dataset
    assert isinstance(learner, ExampleLearner)
    assert data is not None
    assert dataset is not None
    examples = Examples(
        learner=learner,
        dataset=dataset,
        batch_size=data.batch_size,
        seed=loaded.recipe.seed,
        validate_every=1,
        dtype=torch.float64 if loaded.built.trainer.precision == 64 else None,
    )
    metrics = examples.evaluate("test", loaded.counters)
    return {f"test/{name}": value for name, value in metrics.items()}
