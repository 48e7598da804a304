"""How good a run is: whole episodes of its agent, or a set of examples, judged anew."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Discrete
from rich.console import Console
from torch import Tensor

from framework.agent import Agent
from framework.data import Dataset, Split
from framework.episodes import LONGEST, Episode, play, share_cut
from framework.errors import Problem, RecipeError
from framework.evaluation_table import table
from framework.examined import STREAM, examined
from framework.examples import Examples
from framework.examples_file import read_examples
from framework.latent_evaluation import SAMPLES, evaluate_latent
from framework.learner import ExampleLearner, Learner, learners
from framework.learners.latent import Latent
from framework.learners.policy_gradient import PolicyGradient
from framework.loading import LoadedRun, Weights, load_run
from framework.randomness import key
from framework.run_directory import RunDirectory
from framework.waiting import Track, waiting

SETS = ("train", "validation", "test")
EPISODES, SEED = 100, 0  # where nothing else is asked for
OF_BITS = ("objective", "reconstruction", "elbo")  # those of the learner's metrics that hang on how pixels became bits


def evaluate(
    path: Path,
    *,
    episodes: int | None = None,
    sampled: bool = False,
    seed: int | None = None,
    data: str | None = None,
    samples: int | None = None,
    weights: Weights | None = None,
    data_directory: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Judge a run with the weights of a checkpoint.

    An agent plays whole episodes in fresh environments, with other seeds than training's own evaluations; nothing is
    written. A learner of examples is judged on the test set, or another: the metrics are those of the run's summary
    again. A latent-variable model's likelihood, information and codes are judged too (`framework.latent_evaluation`);
    what is found is written to the run directory, `evaluation.json`, and drawn in its `figures/`; of another set than
    `test` to files of its own (`evaluation_file`), and in a folder of `figures/` that is called after the set. An
    earlier evaluation with other settings or weights is renamed after its time; pictures are drawn anew.

    Args:
        path: the run directory.
        episodes: of an agent, how many, 1 or more; None is as many as in training's own evaluations, or 100.
        sampled: whether an agent draws its actions as it did in training, instead of taking the likeliest.
        seed: of the environments and the draws; None is 0.
        data: of a learner of examples, `train`, `validation` or `test`, or the path of a .npz or .npy file (see
            `framework.examples_file`); None is `test`.
        samples: of a latent-variable model, K of importance sampling; None is 500. Published likelihoods take 5,000.
        weights: `last` or `best`; None is what the run was tested with, or the last if it has not come to its end.
        data_directory: where a data set is looked for; None is the default.
        console: where a bar shows how far it is; None is nowhere.

    Returns:
        Plain containers: `run`, `weights`, `step` (the optimiser step of the weights), `notes`; and of an agent
        `episodes` (how many), `sampled`, `seed`, `return` (the mean) with `return_standard_error` (None of one alone),
        `return_minimum`, `return_maximum`, and `length` (the mean, in steps); of a learner of examples `test/…`, after
        the set, and of a latent-variable model what `evaluate_latent` returns, and `figures`.

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
        _refuse(learner, "plays whole episodes, and has no examples", {"--data": data, "--samples": samples})
        count, chosen = _count(learner, episodes), SEED if seed is None else seed
        played = play(learner, count, seed=key(chosen, STREAM, 0), greedy=not sampled) or []  # nobody stops it
        found["notes"] = [*found["notes"], *_cautions(learner, sampled)]
        cut = share_cut(learner.environment, played)
        return {**found, "sampled": sampled, "seed": chosen, **_statistics(played), **({"cut": cut} if cut else {})}
    manner = f"learns from examples, and is judged on {'the test set' if data is None else data}: it plays no episodes"
    _refuse(learner, manner, {"--episodes": episodes, "--sampled": sampled or None})
    with waiting(console or Console(quiet=True)) as track:
        return found | _of_examples(loaded, data or "test", samples, SEED if seed is None else seed, found, track)


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
        lines += table(found)
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"]), *_written(found)])


def _written(found: dict[str, Any]) -> list[str]:
    """Return where it lies: that of a latent-variable model is written."""
    if "figures" not in found:
        return []
    lines = [f"{evaluation_file(Path(found['run']), found['settings']['data'])}: these numbers"]
    if paths := [Path(path) for path in found["figures"]]:
        lines.append(f"{paths[0].parent}: {' '.join(path.name for path in paths)}")
    return lines


def evaluation_file(run: Path, data: str) -> Path:
    """Return where the evaluation of a set of examples is kept.

    That of the test set is `evaluation.json`, of another `evaluation-validation.json`, of a file `evaluation-STEM.json`
    after its name without its ending; a file that is called as a set is has `file-` before it.

    Args:
        run: the run directory.
        data: `train`, `validation`, `test`, or a file's path.
    """
    evaluation = RunDirectory(run).evaluation
    return evaluation if data == "test" else evaluation.with_name(f"{evaluation.stem}-{_called(data)}.json")


def _figures_of(run: Path, data: str) -> Path:
    """Return the folder of the pictures of a set of examples."""
    figures = RunDirectory(run).figures
    return figures if data == "test" else figures / _called(data)


def _called(data: str) -> str:
    if data in SETS:
        return data
    stem = Path(data).stem
    return f"file-{stem}" if stem in SETS else stem


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


def _refuse(learner: Learner, manner: str, options: dict[str, object]) -> None:
    if given := [option for option, value in options.items() if value is not None]:
        message = f"learner {learners.name_of(learner)} {manner}"
        raise RecipeError([Problem(message, found=" ".join(given), expected="no such option")])


def _of_examples(
    loaded: LoadedRun, name: str, samples: int | None, seed: int, found: dict[str, Any], track: Track
) -> dict[str, Any]:
    """Return what is found of a learner of examples on one of its sets; of a latent-variable model it is kept."""
    learner, data = loaded.built.learner, loaded.data
    assert loaded.dataset is not None
    assert data is not None
    if not isinstance(learner, Latent):
        _refuse(learner, "has no likelihood to be estimated", {"--samples": samples})
    dataset, held = loaded.dataset, "test"
    if name in SETS:
        held = name
    else:
        condition = learner.condition if isinstance(learner, Latent) and learner.takes_labels else None
        classes = None if condition is None else condition.classes
        split, facts = read_examples(Path(name), dataset.facts, classes=classes)
        dataset = replace(dataset, test=split, facts=facts)
    learner.to("cuda" if torch.cuda.is_available() else "cpu")
    kind, how = name if name in SETS else "file", dataset.facts.binarization
    word = f"_{how}" if how else ""
    metrics = {f"{kind}/{key}{word if key in OF_BITS else ''}": value for key, value in _metrics(loaded, dataset, held)}
    if not isinstance(learner, Latent):
        return metrics
    judged = evaluate_latent(
        learner,
        split := getattr(dataset, held),
        dataset.train,
        dataset.facts,
        batch_size=data.batch_size,
        samples=SAMPLES if samples is None else samples,
        seed=seed,
        track=track,
    )
    result = {
        **found,
        **metrics,
        **judged,
        "settings": {"seed": seed, "data": name, **judged["settings"]},
        "notes": [*found["notes"], *judged["notes"]],
        "figures": _draw(loaded, learner, split, name),
    }
    file = evaluation_file(loaded.directory.path, name)
    if kept := _set_aside(file, result):
        result["notes"].append(f"the numbers of other settings or weights were there; they are kept: {kept}")
    loaded.directory.write_json(file, result)
    return result


def _set_aside(file: Path, result: dict[str, Any]) -> Path | None:
    """Rename an evaluation of other weights or settings, whose numbers are others; return its new name."""
    if not file.is_file():
        return None
    was = json.loads(file.read_text(encoding="utf-8"))
    if all(was.get(key) == result[key] for key in ("weights", "step", "settings")):
        return None
    written = datetime.fromtimestamp(file.stat().st_mtime)
    return file.rename(file.with_name(f"{file.stem}-{written:%Y%m%d-%H%M%S}.json"))


def _metrics(loaded: LoadedRun, dataset: Dataset, name: str) -> Iterable[tuple[str, float]]:
    """Return the metrics of one of the sets, as those of the run's summary were computed."""
    learner, data = loaded.built.learner, loaded.data
    assert isinstance(learner, ExampleLearner)
    assert data is not None
    examples = Examples(
        learner=learner,
        dataset=dataset,
        batch_size=data.batch_size,
        seed=loaded.recipe.seed,
        validate_every=1,
        dtype=torch.float64 if loaded.built.trainer.precision == 64 else None,
    )
    metrics = examples.evaluate(name, loaded.counters)
    learner.eval()
    return metrics.items()


def _draw(loaded: LoadedRun, learner: Latent, split: Split, name: str) -> list[str]:
    """Draw a latent-variable model in the run's figures; return the files."""
    from framework.latent_figures import draw_evaluation  # matplotlib takes a second to import

    held = examined(split, learner)
    folder = _figures_of(loaded.directory.path, name)
    folder.mkdir(parents=True, exist_ok=True)
    kind = {"train": "training"}.get(name, name) if name in SETS else Path(name).name
    return [str(path) for path in draw_evaluation(learner, held.examples, held.labels, folder, kind=kind)]
