"""The examples of a data set as experience: shuffled minibatches, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.data import Dataset, Labelled, Split
from framework.distributed import rank, sum_over_ranks, world_size
from framework.experience import Experience, Progress
from framework.learner import ExampleLearner
from framework.position import Position
from framework.randomness import Keys, permutation
from framework.schedule import Counters

CHUNK = 16  # minibatches in a row: going round Lightning's loop for each costs more than a small model's step


class Examples(Experience):
    """Minibatches of a training set, in an order that the seed and the epoch determine; and the two other sets.

    Args:
        learner: what is judged.
        dataset: its three sets.
        batch_size: examples in a minibatch, over all processes; what is left of an epoch's order is dropped.
        seed: the run's seed.
        validate_every: epochs between two validations.
        dtype: of the examples that the learner gets; None leaves them as they are.
    """

    unit = "examples"
    judged_on = "validation"
    saves_each_epoch = True

    def __init__(
        self,
        *,
        learner: ExampleLearner,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        validate_every: int,
        dtype: torch.dtype | None,
    ) -> None:
        self.learner, self.dataset, self.batch_size, self.seed = learner, dataset, batch_size, seed
        self.source = dataset.source
        self._validate_every, self._dtype = validate_every, dtype
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))  # of an epoch

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.train) // self.batch_size

    def to(self, device: torch.device) -> None:
        data = self.dataset
        train, validation, test = (_on(split, device) for split in (data.train, data.validation, data.test))
        self.dataset = replace(data, train=train, validation=validation, test=test)
        self._order = (-1, self._order[1])

    def minibatches(self, position: Position, stopping: Callable[[], bool]) -> Iterator[Tensor]:
        """Yield the rows [B] of up to 16 minibatches of the epoch."""
        epoch, step = position.counters.epoch, position.step_in_epoch
        if self._order[0] != epoch:
            order = permutation(len(self.dataset.train), self.seed, epoch)
            self._order = (epoch, order.to(self.dataset.train.inputs.device))
        stop = min(step + CHUNK, self.steps_per_epoch)
        yield from self._order[1][step * self.batch_size : stop * self.batch_size].split(self.batch_size)

    def batch(self, minibatch: Tensor, keys: Keys) -> Tensor | Labelled:
        train = self.dataset.train
        return examples_for(self.learner, train, minibatch, keys, train.inputs.device, self._dtype)

    def after_step(self, position: Position, metrics: Mapping[str, Tensor]) -> Progress:
        counters = position.counters
        ends = position.step_in_epoch + 1 == self.steps_per_epoch
        epoch = counters.epoch + ends
        counters = replace(
            counters,
            optimizer_steps=counters.optimizer_steps + 1,
            samples=counters.samples + self.batch_size,
            epoch=epoch,
        )
        return Progress(counters, ends, ends and epoch % self._validate_every == 0)

    def amount(self, counters: Counters) -> int:
        return counters.samples

    def axes(self, counters: Counters) -> dict[str, int]:
        return {"step": counters.optimizer_steps, "epoch": counters.epoch, "samples": counters.samples}

    def news(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def evaluate(
        self, split: str, counters: Counters, stopping: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """Return the metrics of a whole split, means over its examples at the schedules' final weights.

        Batches are all of about the training's size, because a divergence between examples depends on how many there
        are; and they are shuffled, always alike, because neighbours in a file may be alike (MNIST's are often by one
        writer). Several processes take turns, each with a whole batch: every example counts once, and parts that
        compare examples see those that one process would.
        """
        held: Split = getattr(self.dataset, split)
        batches = evaluation_batches(len(held), self.batch_size)
        device = next(self.learner.parameters()).device
        self.learner.eval()
        sums: dict[str, Tensor] = {}
        # A process without a batch takes one that does not count: its sums have the same names then.
        for index in range(rank(), len(batches), world_size()) or [None]:
            keys = Keys(self.seed, split, index or 0)
            # The data are on the device after training, and on the CPU where a resumed run had none left to do.
            rows = batches[index or 0].to(held.inputs.device)
            batch = examples_for(self.learner, held, rows, keys, device, self._dtype)
            with torch.autocast(device.type, enabled=False):
                metrics = self.learner.evaluate(batch, keys)
            for metric, value in metrics.items():
                sums[metric] = sums.get(metric, 0.0) + value.double() * (0 if index is None else len(rows))
        self.learner.train()
        totals = sum_over_ranks(torch.stack(list(sums.values())))
        return dict(zip(sums, (totals / len(held)).tolist(), strict=True))

    def cost(self, metrics: Mapping[str, float]) -> float:
        return metrics["objective"]

    def state(self) -> dict[str, Any]:
        return {}  # the position says it all

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def examples_for(
    learner: ExampleLearner,
    split: Split,
    rows: Tensor | slice,
    keys: Keys,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Tensor | Labelled:
    """Return the batch that a learner takes of some rows of a set: examples, or examples with their labels.

    Args:
        learner: whose batch it is.
        split: the set.
        rows: which examples.
        keys: of their draws.
        device: where the batch goes.
        dtype: of the examples; None leaves them as they are.

    Raises:
        DataError: the learner takes labels, and there are none.
    """
    if learner.takes_labels:
        return split.labelled(rows, keys).to(device, dtype)
    return split.examples(rows, keys).to(device, dtype)


def evaluation_batches(size: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return the rows of a set in a fixed shuffled order, in batches of `batch_size` or a little more; all of them."""
    return permutation(size, seed=0, epoch=0).tensor_split(max(1, size // batch_size))


def _on(split: Split, device: torch.device) -> Split:
    labels = None if split.labels is None else split.labels.to(device)
    return replace(split, inputs=split.inputs.to(device), labels=labels)
