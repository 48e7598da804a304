"""The `trainer` section of a recipe: for how long, where, and what happens on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from framework.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How a learner is trained. Short and closed: it is no tunnel to Lightning's arguments.

    Training ends at the first of the three limits that is reached; at least one must be set.

    Args:
        max_epochs: passes over the training set.
        max_steps: optimiser steps.
        max_time: minutes of training, over all resumptions.
        accelerator: what to train on; `auto` takes a GPU where there is one.
        devices: how many of them; one for now, which is also what `auto` means.
        gradient_clip: the largest norm that the gradient of one optimiser keeps, or null.
        validate_every: epochs between two validations; the last epoch always ends with one.
        checkpoint_every: optimiser steps between two checkpoints, besides the one at each epoch's end, or null.
        log_every: optimiser steps that one training record is the mean of.
        early_stopping: validations without a better objective after which training ends, or null.

    Raises:
        OptionError: a number is out of range, or no limit is set.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    max_time: float | None = None
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = "auto"
    gradient_clip: float | None = None
    validate_every: int = 1
    checkpoint_every: int | None = None
    log_every: int = 50
    early_stopping: int | None = None

    def __post_init__(self) -> None:
        if self.max_epochs is None and self.max_steps is None and self.max_time is None:
            raise OptionError(
                "max_epochs", found="no limit", expected="max_epochs, max_steps or max_time", write="max_epochs: 20"
            )
        for option in ("max_epochs", "max_steps", "validate_every", "checkpoint_every", "log_every", "early_stopping"):
            number = getattr(self, option)
            if number is not None and number < 1:
                raise OptionError(option, found=number, expected="1 or more")
        for option in ("max_time", "gradient_clip"):
            number = getattr(self, option)
            if number is not None and number <= 0:
                raise OptionError(option, found=number, expected="a number above 0")
        if self.devices not in ("auto", 1):
            raise OptionError("devices", found=self.devices, expected="1: training on several is not built yet")
