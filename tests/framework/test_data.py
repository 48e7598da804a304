"""The contract of data sets: keyed examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework.data import DataError, Dataset, Facts, Source, Split, default_directory
from framework.randomness import Keys


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


def test_labels_go_with_their_examples() -> None:
    split = Split(torch.arange(6.0).view(3, 2), torch.tensor([2, 0, 1]), lambda x: x + torch.rand(x.shape))
    rows, keys = torch.tensor([2, 0]), Keys(0, "train", 7)
    batch = split.labelled(rows, keys)
    assert torch.equal(batch.inputs, split.examples(rows, keys))
    assert batch.labels.tolist() == [1, 2]
    assert split.labelled(slice(1, 3), keys).labels.tolist() == [0, 1]
    double = batch.to(torch.device("cpu"), torch.float64)
    assert (double.inputs.dtype, double.labels.dtype) == (torch.float64, torch.int64)
    with pytest.raises(DataError, match=r"^the data have no labels, and what learns from them needs some$"):
        Split(torch.zeros(3, 2)).labelled(rows, keys)


def test_the_data_directory_is_the_configured_one_or_in_the_users_cache() -> None:
    assert default_directory({"FW_DATA_DIR": "data", "XDG_CACHE_HOME": "cache"}) == Path("data")
    assert default_directory({"FW_DATA_DIR": "", "XDG_CACHE_HOME": "cache"}) == Path("cache/fw")
    assert default_directory({}) == Path.home() / ".cache" / "fw"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (None, "found none"),
        ([0, 1], "found 2"),
        ([0, 3, 1], "found 3 in row 1 (from 0)"),
        ([0, 1, -1], "found -1 in row 2 (from 0)"),
    ],
)
def test_labels_are_of_the_classes_that_the_facts_know(labels: list[int] | None, found: str) -> None:
    good = Split(torch.zeros(3, 2), torch.tensor([2, 1, 0]))
    bad = Split(torch.zeros(3, 2), None if labels is None else torch.tensor(labels))
    source = Source("", "")
    Dataset(Facts((2,), 3, "real"), source, bad, good, good)  # labels that nothing relies on
    Dataset(Facts((2,), 3, "real", classes=3), source, good, good, good)
    with pytest.raises(DataError) as caught:
        Dataset(Facts((2,), 3, "real", classes=3), source, good, bad, good)
    expected = "the validation set's labels: expected a label for each of its 3 examples, 0 to 2"
    assert str(caught.value) == f"{expected}, {found}"
