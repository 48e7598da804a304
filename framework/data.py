"""Data: a training, a validation and a test set in memory, and where they came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from framework.randomness import Keys
from framework.registry import Registry

Values = Literal["binary", "unit_interval", "real"]


@dataclass(frozen=True)
class Facts:
    """What parts may know of the data before they see any.

    Args:
        input_shape: the shape of one example, channels first for images.
        dataset_size: the number of training examples.
        values: the range that a likelihood must suit: 0 or 1; the interval [0, 1]; any real number.
        binarization: how grey pixels became zeros and ones, in one word, such as `static` or `dynamic`; None where
            they did not, or were never grey. Likelihoods of data binarised in different ways are not comparable, and
            carry the word in their names.
        classes: how many there are, where each example of the three sets has a label, 0 … classes - 1; None where
            there are none to rely on.
    """

    input_shape: tuple[int, ...]
    dataset_size: int
    values: Values
    binarization: str | None = None
    classes: int | None = None


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


class Labelled(NamedTuple):
    """Examples with their labels: the batch of a learner that takes labels.

    Args:
        inputs: [B, *input_shape].
        labels: [B] int64, the class of each, from 0.
    """

    inputs: Tensor
    labels: Tensor

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Labelled:
        """Return them on a device, the examples as floating-point numbers of a type where one is given."""
        return Labelled(self.inputs.to(device, dtype), self.labels.to(device))


@dataclass(frozen=True)
class Split:
    """One of the three sets.

    Args:
        inputs: [N, *input_shape], of any type that `transform` takes (uint8 images stay small).
        labels: [N] int64, the class of each, from 0; or None.
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
        with keys("data"):
            return self.transform(_chosen(self.inputs, rows))

    def labelled(self, rows: Tensor | slice, keys: Keys) -> Labelled:
        """Return the examples of some rows with their labels; the examples are those of `examples`.

        Raises:
            DataError: there are no labels.
        """
        if self.labels is None:
            raise DataError("the data have no labels, and what learns from them needs some")
        return Labelled(self.examples(rows, keys), _chosen(self.labels, rows))


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    Args:
        facts: its facts; `dataset_size` is that of `train`.
        source: where it came from.
        train: what the model is fitted to.
        validation: what the best checkpoint is chosen by.
        test: what the final numbers are of; looked at once, at the end.

    Raises:
        DataError: the facts know of classes, and a set has no labels, or some that are none of them.
    """

    facts: Facts
    source: Source
    train: Split
    validation: Split
    test: Split

    def __post_init__(self) -> None:
        if self.facts.classes is not None:
            for name, split in (("training", self.train), ("validation", self.validation), ("test", self.test)):
                _check_labels(split, name, self.facts.classes)


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


def _chosen(values: Tensor, rows: Tensor | slice) -> Tensor:
    # index_select is several times faster than indexing by a tensor
    return values[rows] if isinstance(rows, slice) else values.index_select(0, rows)


def _check_labels(split: Split, name: str, classes: int) -> None:
    expected = f"expected a label for each of its {len(split):,} examples, 0 to {classes - 1}"
    if split.labels is None or len(split.labels) != len(split):
        found = "none" if split.labels is None else f"{len(split.labels):,}"
        raise DataError(f"the {name} set's labels: {expected}, found {found}")
    outside = (split.labels < 0) | (split.labels >= classes)
    if outside.any():
        row = int(outside.int().argmax())
        raise DataError(f"the {name} set's labels: {expected}, found {int(split.labels[row])} in row {row} (from 0)")


data: Registry[Data] = Registry("data", Data, context=("data_directory",))
register_data = data.register


def default_directory(environment: dict[str, str]) -> Path:
    """Return the data directory that these environment variables mean: `FW_DATA_DIR`, or the user's cache."""
    if configured := environment.get("FW_DATA_DIR"):
        return Path(configured).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fw"
