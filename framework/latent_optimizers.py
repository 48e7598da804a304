"""The optimisers of a latent-variable model: one of the model, and one of each critic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import nn

from framework.errors import OptionError
from framework.objective import Objective
from framework.optimizer import Optimizer

Make = Callable[[], Optimizer]


def latent_optimizers(
    model: nn.Module, objective: Objective, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
) -> Iterator[tuple[str, str, Make]]:
    """Yield the name of each optimiser, its option in the recipe, and what makes it.

    Args:
        model: the learner, whose parameters are all but the critics'.
        objective: its critics have optimisers of their own.
        optimizer: of the model.
    """
    critics = objective.critics
    theirs = {parameter for divergence in critics.values() for parameter in divergence.critic.parameters()}
    own = [parameter for parameter in model.parameters() if parameter not in theirs]
    yield "main", "optimizer", partial(optimizer, own)
    for label, divergence in critics.items():
        outer, *inside = label.split("/")
        option = f"divergences.{outer}" if inside else f"divergences.{label}.optimizer"
        yield f"critic/{label}", option, partial(divergence.optimizer, divergence.critic.parameters())


def optimizer_misfits(optimizers: Iterable[tuple[str, str, Make]]) -> Iterator[OptionError]:
    """Yield the settings that an optimiser refuses: torch looks at them when it is given parameters."""
    for _, option, make in optimizers:
        try:
            make()
        except OptionError as error:
            yield OptionError(f"{option}.{error.option}", found=error.found, expected=error.expected)
        except ValueError as error:
            yield OptionError(option, found=str(error), expected="settings that the optimiser accepts")
