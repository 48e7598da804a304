"""Experience: what a learner learns from, and what it is judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.data import Source
from framework.position import Position
from framework.randomness import Keys
from framework.schedule import Counters


@dataclass(frozen=True)
class Progress:
    """Where a run stands after one more step.

    Args:
        counters: its counters.
        epoch_ends: whether the step was the last of an epoch, or of a rollout.
        validates: whether the learner is to be judged now.
        weight: what the step's metrics count in a mean over several steps, above 0.
    """

    counters: Counters
    epoch_ends: bool
    validates: bool
    weight: float = 1.0


class Experience(ABC):
    """The minibatches that a learner is trained on, and what judges it: a data set's examples, or rollouts.

    Attributes:
        source: where it comes from.
        unit: what throughput is counted in, `examples` or `env_steps`.
        judged_on: the split that tells how good the learner is in training, `validation` or `evaluation`.
        saves_each_epoch: whether an epoch is long enough to end with a checkpoint.
    """

    source: Source
    unit: str
    judged_on: str
    saves_each_epoch: bool

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move what it holds."""

    @abstractmethod
    def minibatches(self, position: Position, stopping: Callable[[], bool]) -> Iterator[Any]:
        """Yield the minibatches of some steps from a position on: of a few, so that the caller may look up in between.

        Each is learnt from before the next is asked for. Nothing is yielded where the caller is stopping, and
        gathering what comes next would take long; it may be asked often, and what was gathered by then be given up.
        """

    @abstractmethod
    def batch(self, minibatch: Any, keys: Keys) -> Any:
        """Return what a learner's losses are computed from."""

    @abstractmethod
    def after_step(self, position: Position, metrics: Mapping[str, Tensor]) -> Progress:
        """Return where the run stands after a step with these metrics from a position."""

    @abstractmethod
    def amount(self, counters: Counters) -> int:
        """Return how much of it there has been, in its unit."""

    @abstractmethod
    def axes(self, counters: Counters) -> dict[str, int]:
        """Return the counters that a record of metrics holds."""

    @abstractmethod
    def news(self) -> dict[str, float]:
        """Return the metrics of what has happened since the last call, beside those of the losses."""

    @abstractmethod
    def evaluate(self, split: str, counters: Counters, stopping: Callable[[], bool]) -> dict[str, float] | None:
        """Return the learner's metrics on a split, `judged_on` or `test`.

        None where the caller was stopping, and what would take long was given up.
        """

    @abstractmethod
    def cost(self, metrics: Mapping[str, float]) -> float:
        """Return what is lowest for the best learner, of `evaluate`'s metrics."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what is needed to go on exactly, beside the position, as plain containers and tensors."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
