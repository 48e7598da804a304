"""A step that is tried before anything is written: what a recipe's parts refuse, and what its losses leave out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framework.batch_statistics import BatchStatistics
from framework.data import Dataset, Labelled, Split
from framework.distributed import rank, world_size
from framework.errors import IncompatibleParts, Problem
from framework.examples import examples_for
from framework.learner import ExampleLearner, Learner
from framework.randomness import Keys
from framework.schedule import Counters
from framework.schema import Recipe
from framework.share import WHOLE, Share
from framework.trainer import Trainer

EXAMPLES = 4  # of one process: what depends on how many there are shows at one, two or three
_BATCH_NORMALISATION = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Trial:
    """What a tried step has shown.

    Args:
        problems: why training would fail.
        leaves_out: whether a loss leaves parameters without a gradient: a critic's does, and the model's leaves out the
            critic, as one may leave out a learned prior.
        unlearned: the parameters without a gradient of any loss, by name: they would stay as they are.
    """

    problems: list[Problem]
    leaves_out: bool = False
    unlearned: tuple[str, ...] = ()


def try_step(recipe: Recipe, learner: ExampleLearner, limits: Trainer, dataset: Dataset, batch_size: int) -> Trial:
    """Compute all losses of some examples and their gradients on the CPU, then the metrics of some of validation's.

    Processes that have met do so together, each with its part of a batch, because draws are recognised by how many
    examples there are; one process takes a few.

    Args:
        recipe: for the places of problems.
        learner: like the one that is to be trained; it may be another one afterwards.
        limits: the trainer's section.
        dataset: what on.
        batch_size: over all processes.

    Raises:
        ValueError: of a part's own, whatever the batch and however it is shared.
    """
    part = batch_size // world_size()
    microbatch = min(limits.microbatch or part, part)
    parts = part // microbatch
    shared = world_size() * parts > 1
    share = Share(rank() * parts, world_size() * parts, microbatch, gathers=parts == 1) if shared else WHOLE
    examples = microbatch if shared else min(EXAMPLES, part)
    smallest = min(batch_size, len(dataset.validation), len(dataset.test), EXAMPLES)
    try:
        missed = _missed(learner, dataset, examples, share)
        _evaluate(learner, dataset, smallest)
    except IncompatibleParts as error:
        return Trial([recipe.refused(misfit) for misfit in error.misfits])
    except ValueError as error:
        where = "data.batch_size" if not shared else "trainer.microbatch" if parts > 1 else "trainer.devices"
        if not shared and min(examples, smallest) == EXAMPLES:
            raise  # a larger batch would not help
        if shared:
            _missed(learner, dataset, min(EXAMPLES, len(dataset.train)), WHOLE)  # raises where sharing is not to blame
        fewest = min(batch_size, len(dataset.validation), len(dataset.test))
        found = f"batches of {batch_size} in parts" if shared else f"batches of {fewest}"
        expected = "one process, and no microbatch" if shared else "a larger batch_size and larger sets"
        message = str(error).split("\n")[0]
        return Trial([Problem(message, where, found, expected, mark=recipe.mark(where))])
    where = "trainer.microbatch" if parts > 1 else "trainer.devices"
    problems = list(_batch_statistics(recipe, learner, where)) if shared else []
    return Trial(problems, any(missed), tuple(sorted(set.intersection(*missed))) if missed else ())


def _evaluate(learner: ExampleLearner, dataset: Dataset, examples: int) -> None:
    keys = Keys(0, "check", 0)
    with torch.no_grad():
        learner.eval().evaluate(_examples(learner, dataset.validation, examples, keys), keys)


def _examples(learner: ExampleLearner, split: Split, count: int, keys: Keys) -> Tensor | Labelled:
    return examples_for(learner, split, torch.arange(count), keys, torch.device("cpu"))


def _missed(learner: ExampleLearner, dataset: Dataset, examples: int, share: Share) -> list[set[str]]:
    """Return the names of the parameters that each loss leaves without a gradient."""
    keys = Keys(0, "check", 0, share)
    batch = _examples(learner, dataset.train, examples, keys)
    parameters = {name: one for name, one in learner.named_parameters() if one.requires_grad}
    missed = []
    for loss in learner.losses(batch, Counters(), keys):
        if loss.value is None:
            continue
        gradients = torch.autograd.grad(loss.value, list(parameters.values()), allow_unused=True)
        missed.append({name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None})
    return missed


def _batch_statistics(recipe: Recipe, learner: Learner, where: str) -> Iterator[Problem]:
    for name, module in learner.named_modules():
        if isinstance(module, _BATCH_NORMALISATION):
            does, expected = "normalises by", "normalisation by layer or group"
            write = "nn.GroupNorm or nn.LayerNorm"
        elif isinstance(module, BatchStatistics):
            does, expected, write = "takes", "what depends on each example alone", module.instead
        else:
            continue
        message = f"{name} {does} statistics of the batch, of which a process or a microbatch has a part"
        yield Problem(message, where, type(module).__name__, expected, write, recipe.mark(where))
