"""New examples from a run: latents of the prior, of the aggregate posterior or around an input, decoded.

Legend: S samples, N training examples, B examples at a time, D latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from framework.aggregate_posterior import AggregatePosterior
from framework.canvas import save
from framework.coding import BATCH, evaluating, likelihoods
from framework.data import Split
from framework.discrete import is_discrete
from framework.errors import OptionError, Problem, RecipeError
from framework.files import atomic
from framework.labels import spread
from framework.learners.latent import Latent
from framework.loading import LoadedRun, Weights, load_run
from framework.randomness import Keys, permutation, rekey
from framework.sample_grid import draw_samples
from framework.tiles import FEWEST, span_of

From = Literal["prior", "aggregate"]

STREAM = "fw sample"
NUMBER, COMPONENTS = 100, 10  # where nothing else is asked for
CODES = 10_000  # training examples at most, that the aggregate posterior is fitted to
MOST_SHOWN = 400  # samples in the picture


@dataclass(frozen=True)
class Sampled:
    """What was sampled.

    Args:
        figure: samples.png.
        arrays: samples.npz.
        number: how many samples.
        source: where z is from, in a person's words.
        draws: whether x are draws of p(x|z), instead of its means.
        weights: the name of the checkpoint.
        notes: what a reader should know, a sentence each.
    """

    figure: Path
    arrays: Path
    number: int
    source: str
    draws: bool
    weights: str
    notes: list[str]

    def __str__(self) -> str:
        what = "draws of p(x|z)" if self.draws else "means of p(x|z)"
        lines = [
            f"{self.figure}: {self.number:,} {what}, z from {self.source}, {self.weights}",
            f"{self.arrays}: the same as arrays",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def plain(self) -> dict[str, Any]:
        """Return plain containers."""
        return {
            "figure": str(self.figure),
            "arrays": str(self.arrays),
            "number": self.number,
            "source": self.source,
            "draws": self.draws,
            "weights": self.weights,
            "notes": self.notes,
        }


def sample(
    path: Path,
    *,
    number: int = NUMBER,
    source: From = "prior",
    around: int | None = None,
    label: int | None = None,
    components: int | None = None,
    draws: bool = False,
    seed: int = 0,
    weights: Weights | None = None,
    out: Path | None = None,
    data_directory: Path | None = None,
) -> Sampled:
    """Sample examples from a run of the latent learner.

    Written are `samples.png`, with at most 400 of them, and `samples.npz`: `x` [S, *input_shape], `z` [S, D], around an
    input `input` [1, *input_shape], and of a conditional learner `labels` [S]. The same for the same seed.

    Args:
        path: the run directory.
        number: S, 1 or more.
        source: z is drawn from the `prior`, or from the `aggregate` posterior, fitted by a mixture of Gaussians to the
            codes of training examples.
        around: the row, from 0, of a test example x; z is drawn from q(z|x) instead.
        label: of the examples, where the learner is conditional; None is each label in turn or, around an input, its
            own.
        components: Gaussians in the mixture, 1 or more; None is 10.
        draws: whether examples are drawn from p(x|z), instead of its means taken.
        seed: of all draws.
        weights: `last` or `best`; None is what the run was tested with, or the last if it has not come to its end.
        out: the folder, made where it is missing; None is `samples` of the run.
        data_directory: where a data set is looked for; None is the default.

    Raises:
        RecipeError: there is no such run, it samples nothing, or an option does not suit it.
        OSError: data or checkpoint cannot be had, or the files not be written.
    """
    _check_options(number, source, around, components)
    loaded = load_run(path, weights, data_directory, with_data=around is not None or source == "aggregate")
    learner, name = loaded.built.learner, loaded.recipe.learner.entry.name
    if not isinstance(learner, Latent):
        expected = "learner latent, which has a prior and a decoder"
        raise RecipeError([Problem(f"{path}: nothing to sample", found=f"learner {name}", expected=expected)])
    _check_label(learner, label)
    notes = list(loaded.notes)
    with torch.no_grad(), evaluating(learner):
        given = None if around is None else _test_example(loaded, learner, around)
        labels = _labels(learner, number, label, given)
        rekey(seed, f"{STREAM}/z", 0)
        if given is not None:
            z = learner.posterior(*given).sample(torch.Size([number])).squeeze(1)  # [S, D]
        elif source == "aggregate":
            z = _of_aggregate(learner, loaded, number, COMPONENTS if components is None else components, seed, notes)
        else:
            z = learner.prior().sample(torch.Size([number]))  # [S, D]
        rekey(seed, f"{STREAM}/x", 0)
        x = torch.cat([each.sample() if draws else each.mean for each in likelihoods(learner, z, labels)])
    words = _words(source, around, label)
    folder = out or loaded.directory.path / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    given_x = None if given is None else given[0]
    return Sampled(
        figure=save(_drawn(x, labels, given_x, words, draws=draws), folder / "samples.png"),
        arrays=_kept(folder / "samples.npz", {"x": x, "z": z, "labels": labels, "input": given_x}),
        number=number,
        source=words,
        draws=draws,
        weights=loaded.weights,
        notes=notes,
    )


def _check_options(number: int, source: From, around: int | None, components: int | None) -> None:
    problems = []
    if number < 1:
        problems.append(Problem("this value is refused", "--number", str(number), "1 or more"))
    if around is not None and source == "aggregate":
        found, expected = "--around and --from aggregate", "one of them: each says where z is drawn from"
        problems.append(Problem("two places to draw latents from", found=found, expected=expected))
    if components is not None and source != "aggregate":
        message = "only the aggregate posterior is fitted by a mixture"
        problems.append(Problem(message, "--components", str(components), "no such option", "--from aggregate"))
    if problems:
        raise RecipeError(problems)


def _check_label(learner: Latent, label: int | None) -> None:
    if label is None:
        return
    if learner.condition is None:
        found, expected = str(label), "no such option: this run's learner is not conditional"
        raise RecipeError([Problem("this value is refused", "--label", found, expected)])
    if not 0 <= label < learner.condition.classes:
        expected = f"0 to {learner.condition.classes - 1}"
        raise RecipeError([Problem("this value is refused", "--label", str(label), expected)])


def _words(source: From, around: int | None, label: int | None) -> str:
    places = {"prior": "the prior", "aggregate": "the fitted aggregate posterior"}
    place = places[source] if around is None else f"the posterior of test example {around}"
    return place if label is None else f"{place}, label {label}"


def _test_example(loaded: LoadedRun, learner: Latent, row: int) -> tuple[Tensor, Tensor | None]:
    """Return a test example, [1, *input_shape], and the label that a conditional learner is told of it, [1]."""
    assert loaded.dataset is not None
    test = loaded.dataset.test
    if not 0 <= row < len(test):
        expected = f"0 to {len(test) - 1}, a row of the test set"
        raise RecipeError([Problem("there is no such example", "--around", str(row), expected)])
    return _told(learner, test, slice(row, row + 1), Keys(0, STREAM, row))


def _told(learner: Latent, split: Split, rows: Tensor | slice, keys: Keys) -> tuple[Tensor, Tensor | None]:
    """Return some examples, and the labels that a conditional learner is told of them."""
    x = split.examples(rows, keys).to(next(learner.parameters()))
    return x, None if split.labels is None or not learner.takes_labels else split.labels[rows].to(x.device)


def _labels(
    learner: Latent, number: int, label: int | None, given: tuple[Tensor, Tensor | None] | None
) -> Tensor | None:
    """Return what a conditional learner is told of each sample, [S]."""
    if learner.condition is None:
        return None
    if label is not None:
        return torch.full((number,), label)
    if given is not None and given[1] is not None:
        return given[1].expand(number)
    return spread(torch.arange(learner.condition.classes), number)


def _of_aggregate(
    learner: Latent, loaded: LoadedRun, number: int, components: int, seed: int, notes: list[str]
) -> Tensor:
    """Return z of the fitted aggregate posterior, [S, D]."""
    assert loaded.dataset is not None
    train = loaded.dataset.train
    like = next(learner.parameters())
    codes = []
    for index, rows in enumerate(permutation(len(train), seed, 0)[:CODES].split(BATCH)):
        keys = Keys(seed, f"{STREAM}/codes", index)
        q = learner.posterior(*_told(learner, train, rows, keys))
        if is_discrete(q):
            found, expected = "discrete latents", "latents that a mixture of Gaussians can be fitted to"
            raise RecipeError([Problem("no aggregate posterior", "--from", found, expected, "--from prior")])
        with keys("z"):
            codes.append(q.sample().double().cpu())  # [B, D]
    try:
        fitted = AggregatePosterior.fit(torch.cat(codes).numpy(), components=components, seed=seed)
    except OptionError as error:
        message = "the aggregate posterior cannot be fitted"
        raise RecipeError([Problem(message, f"--{error.option}", str(error.found), error.expected)]) from error
    if not fitted.has_converged:
        notes.append("the fit of the aggregate posterior had not converged after the steps that it takes at most")
    return torch.from_numpy(fitted.sample(number)).to(like)


def _kept(path: Path, arrays: dict[str, Tensor | None]) -> Path:
    """Write the arrays that there are, and return where."""
    present = {key: value.cpu().numpy() for key, value in arrays.items() if value is not None}
    with atomic(path) as file:
        np.savez(file, allow_pickle=False, **present)
    return path


def _drawn(x: Tensor, labels: Tensor | None, given: Tensor | None, source: str, *, draws: bool) -> Figure:
    """Return the picture of samples [S, *input_shape], and before them of the input that they are around."""
    shown, what = x[:MOST_SHOWN], "draws" if draws else "means"
    few = f", the first {MOST_SHOWN}" if len(shown) < len(x) else ""
    subtitle = f"{what} of p(x|z), z of {source}{few}"
    if given is not None:  # all have one label
        shown, labels, subtitle = torch.cat([given, shown]), None, f"the input, and {subtitle}"
    columns = max(FEWEST, math.ceil(math.sqrt(len(shown))))
    named = None if labels is None else labels[: len(shown)]
    return draw_samples(shown, columns, span_of(shown), subtitle, labels=named)
