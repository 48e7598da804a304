"""Data: a training, a validation and a test set in memory, and where they came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from framework.randomness import Keys, permutation
from framework.registry import Registry

Values = Literal["binary", "unit_interval", "real"]


@dataclass(frozen=True)
class Facts:
    """What parts may know of the data before they see any.

    Args:
        input_shape: the shape of one example, channels first for images.
        dataset_size: the number of training examples.
        values: the range that a likelihood must suit: 0 or 1; the interval [0, 1]; any real number.
    """

    input_shape: tuple[int, ...]
    dataset_size: int
    values: Values


@dataclass(frozen=True)
class Source:
    """Where a data set came from; written to environment.json.

    Args:
        description: in a person's words, with the sizes of the three sets.
        location: the folder, file or package that it was read from.
        sha256: the sum of the unpacked bytes, by file.
        fallbacks: what was used in place of what was asked for, one sentence each; shown loudly.
        notes: what else a reader of the numbers should know, one sentence each.
    """

    description: str
    location: str
    sha256: dict[str, str] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def as_is(inputs: Tensor) -> Tensor:
    """Return the inputs; the transform of data that are ready."""
    return inputs


@dataclass(frozen=True)
class Split:
    """One of the three sets.

    Args:
        inputs: [N, *input_shape], of any type that `transform` takes (uint8 images stay small).
        labels: [N] int64, or None.
        transform: turns rows of `inputs` into floating-point examples, on the device that they are on. May draw random
            numbers: the framework keys the generator before each call.
    """

    inputs: Tensor
    labels: Tensor | None = None
    transform: Callable[[Tensor], Tensor] = as_is

    def __len__(self) -> int:
        return len(self.inputs)

    def examples(self, rows: Tensor | slice, keys: Keys) -> Tensor:
        """Return the examples of some rows, [B, *input_shape], drawn with the keys' `data` site."""
        # index_select is several times faster than indexing by a tensor
        chosen = self.inputs[rows] if isinstance(rows, slice) else self.inputs.index_select(0, rows)
        with keys("data"):
            return self.transform(chosen)


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    Args:
        facts: its facts; `dataset_size` is that of `train`.
        source: where it came from.
        train: what the model is fitted to.
        validation: what the best checkpoint is chosen by.
        test: what the final numbers are of; looked at once, at the end.
    """

    facts: Facts
    source: Source
    train: Split
    validation: Split
    test: Split


class Data(ABC):
    """A data set that a recipe can name. Constructing one reads nothing.

    Attributes:
        batch_size: examples in a minibatch, over all processes.
    """

    batch_size: int

    @abstractmethod
    def facts(self) -> Facts:
        """Return what can be known without downloading anything.

        Raises:
            OptionError: an option names something that cannot be used, such as a file that is not there.
        """

    @abstractmethod
    def load(self) -> Dataset:
        """Find, verify and read the data; download them where they are missing.

        Raises:
            DataError: they are nowhere to be had, or are not what they should be.
        """


class DataError(OSError):
    """Data that cannot be found, read or verified; the message says what was tried. Exit code 74."""


data: Registry[Data] = Registry("data", Data, context=("data_directory",))
register_data = data.register


def default_directory(environment: dict[str, str]) -> Path:
    """Return the data directory that these environment variables mean: `FW_DATA_DIR`, or the user's cache."""
    if configured := environment.get("FW_DATA_DIR"):
        return Path(configured).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fw"


def evaluation_batches(size: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return the rows of a set in a fixed shuffled order, in batches of `batch_size` or a little more; all of them."""
    return permutation(size, seed=0, epoch=0).tensor_split(max(1, size // batch_size))


class TrainingBatches:
    """The minibatches that are left of an epoch, several at a time, in an order that the seed and the epoch determine.

    Lightning asks for an object with `__iter__` and `__len__`. Each item holds the row indices [B] of several optimiser
    steps, because going round its loop once a minibatch costs more than a small model's step.

    Args:
        size: N, the number of training examples.
        batch_size: B; the last N mod B examples of an epoch's order are dropped.
        seed: the run's seed.
        position: returns (epoch, step in the epoch) to go on from.
        chunk: minibatches in an item.
    """

    def __init__(
        self, *, size: int, batch_size: int, seed: int, position: Callable[[], tuple[int, int]], chunk: int = 16
    ) -> None:
        self.size, self.batch_size, self.seed, self.position, self.chunk = size, batch_size, seed, position, chunk

    @property
    def steps_per_epoch(self) -> int:
        return self.size // self.batch_size

    def __len__(self) -> int:
        # Of a whole epoch: Lightning asks once, and a resumed run's first epoch ends early.
        return -(-self.steps_per_epoch // self.chunk)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        epoch, step = self.position()
        order = permutation(self.size, self.seed, epoch)
        while step < self.steps_per_epoch:
            stop = min(step + self.chunk, self.steps_per_epoch)
            rows = order[step * self.batch_size : stop * self.batch_size]
            yield torch.split(rows, self.batch_size)
            step = stop
