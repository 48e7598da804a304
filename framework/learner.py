"""Learner: parts, the losses they are trained by, and the optimisers that do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from framework.alarm import Alarm
from framework.data import Facts
from framework.optimizer import Optimizer
from framework.randomness import Keys
from framework.registry import Registry
from framework.schedule import Counters


@dataclass(frozen=True)
class Loss:
    """A number to be made smaller by one step of one optimiser.

    Args:
        value: [], with a graph; None where the learner has changed its tables itself, without a gradient.
        optimizer: the key of the optimiser in `Learner.optimizers`.
        metrics: what is logged beside it, [] each, detached; means over the batch.
    """

    value: Tensor | None
    optimizer: str
    metrics: Mapping[str, Tensor]


class Learner(nn.Module, ABC):
    """An algorithm: how parts are trained. A plain module, run by the one LightningModule or by a loop of your own.

    Everything else (gradients, clipping, checks, the devices, the counters, records) is done around it.

    Attributes:
        formula: what is made smaller, or what is sought, on one line; empty where it says nothing.
        notes: what a reader of its numbers should know, a sentence each: estimators used, metrics left out and why.
        alarms: what looks at its validations and says that something goes wrong, and what to change.
    """

    formula: str = ""
    notes: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()

    @abstractmethod
    def losses(self, batch: Any, counters: Counters, keys: Keys) -> Iterator[Loss]:
        """Yield the losses of one minibatch, in order.

        Each is minimised by its optimiser before the next is asked for, so that a loss may be computed with parameters
        that the one before has just changed: a critic first, then the model against the updated critic.

        Each value is the mean over the examples here, or the same number on all processes for what is computed from
        the whole batch: the mean over processes is then the loss that one process would have.

        Args:
            batch: the examples that this process has of the step's batch, [B, *input_shape], or `Labelled` for a
                learner that takes labels; of an `Agent`, some rows of what it has made of a rollout.
            counters: how far training has come before this step.
            keys: re-keys the random numbers of a site; its `share` says what part of the whole batch is here.

        Yields:
            Losses, [] each, in the unit of the objective (nats, or the reward's), by the names of `optimizers`.
        """

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Return new optimisers of the parameters as they are, by name; training calls it on the device."""


Contexts = Mapping[str, Mapping[str, Any]]  # by option


def _alike(facts: Facts | None, options: Mapping[str, Any]) -> Contexts:
    return {}


class ExampleLearner(Learner, ABC):
    """A learner that learns from the examples of a data set.

    Attributes:
        takes_labels: whether its batches are `Labelled`, examples with their labels, and no plain tensors.
        contexts: (facts of the data, options of the recipe) → by option, what the builder supplies that part with in
            place of what it supplies all of them with: {"encoder": {"input_shape": (2, 28, 28)}}. A static method; it
            may raise OptionError.
    """

    takes_labels: bool = False
    contexts: ClassVar[staticmethod[[Facts | None, Mapping[str, Any]], Contexts]] = staticmethod(_alike)

    @abstractmethod
    def evaluate(self, batch: Any, keys: Keys) -> dict[str, Tensor]:
        """Return the metrics of one batch at the schedules' final weights, [] each: means over the batch.

        The batch is as in `losses`. `objective` is among them: the best checkpoint is the one where it is lowest.
        """


learners: Registry[Learner] = Registry("learner", Learner, context=("facts",))
register_learner = learners.register
