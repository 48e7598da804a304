"""The contract of data sets: keyed examples, and an epoch's minibatches that can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor

from framework.data import Split, TrainingBatches, default_directory
from framework.randomness import Keys

SIZE, BATCH = 103, 10


def batches(epoch: int = 0, step: int = 0, seed: int = 0, chunk: int = 4) -> list[Tensor]:
    made = TrainingBatches(size=SIZE, batch_size=BATCH, seed=seed, position=at(epoch, step), chunk=chunk)
    items = list(made)
    assert len(made) == -(-(SIZE // BATCH) // chunk)  # of a whole epoch, however many are left
    return list(chain.from_iterable(items))


def at(epoch: int, step: int) -> Callable[[], tuple[int, int]]:
    return lambda: (epoch, step)


def test_an_epoch_has_each_example_once_and_drops_the_remainder() -> None:
    rows = torch.cat(batches())
    assert len(rows) == 100
    assert len(rows.unique()) == 100
    assert set(rows.tolist()) < set(range(SIZE))


@pytest.mark.parametrize("step", [1, 4, 7, 10])
def test_the_minibatches_that_are_left_are_those_of_the_unbroken_epoch(step: int) -> None:
    left, whole = batches(epoch=3, step=step), batches(epoch=3)[step:]
    assert len(left) == len(whole) == 10 - step
    assert all(torch.equal(one, other) for one, other in zip(left, whole, strict=True))


def test_the_chunk_does_not_change_the_minibatches() -> None:
    one, other = batches(chunk=1), batches(chunk=100)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_order_is_another_in_another_epoch_and_with_another_seed() -> None:
    orders = [torch.cat(made) for made in (batches(), batches(epoch=1), batches(seed=1))]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[1], orders[2])


def test_examples_are_a_function_of_the_keys() -> None:
    split = Split(torch.full((8, 1, 2, 2), 128, dtype=torch.uint8), transform=lambda x: torch.rand(x.shape) + x)
    rows = torch.tensor([1, 5])
    first = split.examples(rows, Keys(0, "train", 7))
    torch.rand(11)  # whatever was drawn meanwhile does not matter
    assert torch.equal(first, split.examples(rows, Keys(0, "train", 7)))
    assert not torch.equal(first, split.examples(rows, Keys(0, "train", 8)))
    assert not torch.equal(first, split.examples(rows, Keys(0, "validation", 7)))
    assert not torch.equal(first, split.examples(rows, Keys(1, "train", 7)))


def test_a_split_without_a_transform_gives_its_rows() -> None:
    split = Split(torch.arange(12.0).view(4, 3))
    assert len(split) == 4
    assert torch.equal(split.examples(slice(1, 3), Keys(0, "test", 0)), torch.arange(3.0, 9.0).view(2, 3))


def test_the_data_directory_is_the_configured_one_or_in_the_users_cache() -> None:
    assert default_directory({"FW_DATA_DIR": "data", "XDG_CACHE_HOME": "cache"}) == Path("data")
    assert default_directory({"FW_DATA_DIR": "", "XDG_CACHE_HOME": "cache"}) == Path("cache/fw")
    assert default_directory({}) == Path.home() / ".cache" / "fw"
