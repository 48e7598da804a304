"""A step that is tried before anything is written: what a recipe's parts refuse, and what its losses leave out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from framework.data import Dataset
from framework.distributed import rank, world_size
from framework.errors import IncompatibleParts, Problem
from framework.learner import Learner
from framework.randomness import Keys
from framework.schedule import Counters
from framework.schema import Recipe
from framework.share import Share
from framework.trainer import Trainer

EXAMPLES = 4  # of each process: what depends on how many there are shows at one, two or three
_BATCH_STATISTICS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Trial:
    """What a tried step has shown.

    Args:
        problems: why training would fail.
        leaves_out: whether a loss leaves parameters without a gradient: a critic's does, and the model's leaves out the
            critic, as one may leave out a learned prior.
    """

    problems: list[Problem]
    leaves_out: bool


def try_step(recipe: Recipe, learner: Learner, limits: Trainer, dataset: Dataset, batch_size: int) -> Trial:
    """Compute all losses of a few examples and their gradients, on a copy of the learner and on the CPU.

    Processes that have met do so together. Validation and test are tried with the smallest batch that they will make.

    Args:
        recipe: for the places of problems.
        learner: what is to be trained.
        limits: the trainer's section.
        dataset: what on.
        batch_size: over all processes.
    """
    learner = copy.deepcopy(learner)
    own = min(EXAMPLES, limits.microbatch or batch_size // world_size())
    share = Share(rank(), world_size(), own, gathers=True) if world_size() > 1 else Share()
    if limits.microbatch is not None and limits.microbatch < batch_size // world_size():
        share = Share(rank(), max(2, world_size()), own)
    smallest = min(batch_size, len(dataset.validation), len(dataset.test))
    where = "trainer.microbatch" if limits.microbatch else "trainer.devices" if world_size() > 1 else "data.batch_size"
    leaves_out = False
    try:
        leaves_out = _losses_leave_out(learner, dataset, own, share)
        with torch.no_grad():
            blank = torch.zeros(min(EXAMPLES, smallest), *dataset.facts.input_shape)
            learner.eval().evaluate(blank, Keys(0, "check", 0))
    except IncompatibleParts as error:
        problems = [
            Problem(
                "this value is refused",
                misfit.option,
                str(misfit.found),
                misfit.expected,
                misfit.write,
                recipe.mark(misfit.option),
            )
            for misfit in error.misfits
        ]
        return Trial(problems, leaves_out)
    except ValueError as error:
        found = f"batches of {min(batch_size, smallest)}" if share.count == 1 else f"batches of {batch_size} in parts"
        expected = "a larger batch_size and larger sets" if share.count == 1 else "one process, and no microbatch"
        return Trial([Problem(str(error), where, found, expected, mark=recipe.mark(where))], leaves_out)
    return Trial(list(_batch_statistics(recipe, learner, share, where)), leaves_out)


def _losses_leave_out(learner: Learner, dataset: Dataset, own: int, share: Share) -> bool:
    keys = Keys(0, "check", 0, share)
    batch = dataset.train.examples(torch.arange(own), keys)
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    leaves_out = False
    for loss in learner.losses(batch, Counters(), keys):
        gradients = torch.autograd.grad(loss.value, parameters, allow_unused=True)
        leaves_out |= any(gradient is None for gradient in gradients)
    return leaves_out


def _batch_statistics(recipe: Recipe, learner: Learner, share: Share, where: str) -> Iterator[Problem]:
    if share.count == 1:
        return
    for name, module in learner.named_modules():
        if isinstance(module, _BATCH_STATISTICS):
            yield Problem(
                f"{name} normalises by statistics of the batch, of which a process or a microbatch has a part",
                where,
                type(module).__name__,
                "normalisation by layer or group",
                "nn.GroupNorm or nn.LayerNorm",
                recipe.mark(where),
            )
