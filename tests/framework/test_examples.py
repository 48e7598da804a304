"""A data set's minibatches: an epoch's order, and going on in the midst of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framework.data import Dataset, Facts, Source, Split
from framework.examples import CHUNK, Examples
from framework.learner import ExampleLearner
from framework.position import Position
from framework.schedule import Counters

SIZE, BATCH = 403, 10


def batches(epoch: int = 0, step: int = 0, seed: int = 0) -> list[Tensor]:
    split = Split(torch.zeros(SIZE, 1))
    dataset = Dataset(Facts((1,), SIZE, "real"), Source("", ""), split, split, split)
    learner: ExampleLearner = None  # type: ignore[assignment]  # nothing is evaluated
    examples = Examples(learner=learner, dataset=dataset, batch_size=BATCH, seed=seed, validate_every=2, dtype=None)
    position = Position(Counters(optimizer_steps=40 * epoch + step, epoch=epoch), step_in_epoch=step)
    found: list[Tensor] = []
    while position.counters.epoch == epoch:
        turn = list(examples.minibatches(position, lambda: False))
        assert 0 < len(turn) <= CHUNK
        for rows in turn:
            found.append(rows)
            progress = examples.after_step(position, {})
            position.counters = progress.counters
            position.step_in_epoch = 0 if progress.epoch_ends else position.step_in_epoch + 1
            assert progress.validates == (progress.epoch_ends and (epoch + 1) % 2 == 0)
    assert position.counters.optimizer_steps == 40 * (epoch + 1)
    assert position.counters.samples == BATCH * len(found)
    return found


def test_an_epoch_has_each_example_once_and_drops_the_remainder() -> None:
    rows = torch.cat(batches())
    assert len(rows) == 400
    assert len(rows.unique()) == 400
    assert set(rows.tolist()) < set(range(SIZE))


@pytest.mark.parametrize("step", [1, 15, 16, 17, 39])
def test_the_minibatches_that_are_left_are_those_of_the_unbroken_epoch(step: int) -> None:
    left, whole = batches(epoch=3, step=step), batches(epoch=3)[step:]
    assert len(left) == len(whole) == 40 - step
    assert all(torch.equal(one, other) for one, other in zip(left, whole, strict=True))


def test_the_order_is_another_in_another_epoch_and_with_another_seed() -> None:
    orders = [torch.cat(made) for made in (batches(), batches(epoch=1), batches(seed=1))]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[1], orders[2])
