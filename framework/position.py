"""How far a run has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from framework.schedule import Counters
from framework.trainer import Trainer


@dataclass
class Position:
    """How far a run has come: what, with the weights and the optimisers, makes it go on exactly.

    Args:
        counters: ours, never Lightning's.
        step_in_epoch: minibatches of the current epoch, or rollout, that are done.
        best: the lowest cost at a validation so far: the objective in nats, or minus the return.
        validations_since_best: how many came after it.
        seconds: time spent training, over all resumptions.
        window: sums of the training metrics since the last record, by name, [] each; of the whole batches.
        window_steps: optimiser steps in it, each counting its weight, which is 1 where all that it learnt from counts.
        window_seconds: time spent in them.
        window_start: how much experience there was before it, in its unit.
        is_unjudged: whether an evaluation is due here that was given up; the run goes on with it.
    """

    counters: Counters = field(default_factory=Counters)
    step_in_epoch: int = 0
    best: float = math.inf
    validations_since_best: int = 0
    seconds: float = 0.0
    window: dict[str, Tensor] = field(default_factory=dict)
    window_steps: float = 0.0
    window_seconds: float = 0.0
    window_start: int = 0
    is_unjudged: bool = False

    def has_run_out(self, limits: Trainer, more: float = 0.0) -> bool:
        """Return whether the time is up, some more seconds having passed since it was last counted."""
        return limits.max_time is not None and self.seconds + more >= 60 * limits.max_time

    def has_reached(self, limits: Trainer, *, time_is_up: bool) -> bool:
        """Return whether one of the trainer's limits has been reached, or its patience is at an end."""
        counters, patience = self.counters, limits.early_stopping
        return bool(
            (patience and self.validations_since_best >= patience)
            or (limits.max_epochs and counters.epoch >= limits.max_epochs)
            or (limits.max_steps and counters.optimizer_steps >= limits.max_steps)
            or (self.step_in_epoch == 0 and self._has_acted_enough(limits))
            or time_is_up
        )

    def _has_acted_enough(self, limits: Trainer) -> bool:
        # A rollout counts from its first step on, and is learnt from to its end.
        steps, episodes = self.counters.env_steps, self.counters.episodes
        return bool(
            (limits.max_env_steps and steps >= limits.max_env_steps)
            or (limits.max_episodes and episodes >= limits.max_episodes)
        )

    def state(self) -> dict[str, Any]:
        """Return it as plain containers and tensors, for a checkpoint."""
        return {**asdict(self), "window": dict(self.window)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        """Return the position that `state` was called on."""
        return cls(**{**state, "counters": Counters(**state["counters"])})
