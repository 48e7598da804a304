"""Batches of CIFAR-10's Python version: read as Python 2 and numpy of any age wrote them, and never run."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework_plugins.data.cifar10_pickle import records
from tests.plugins.data.cifar10_archives import python_2_pickle

DATA = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
EXPECTED = b"\x03" + DATA[0].tobytes() + b"\x09" + DATA[1].tobytes()


def test_what_python_2_wrote() -> None:
    pickled = python_2_pickle(DATA, [3, 9])
    loaded = pickle.loads(pickled, encoding="bytes")  # it is what pickle itself takes for this dictionary
    assert np.array_equal(loaded[b"data"], DATA)
    assert loaded[b"labels"] == [3, 9]
    assert records(pickled) == EXPECTED


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_later_ones_write(protocol: int) -> None:
    if protocol < 5:  # protocol 5 has an array in a way of its own
        assert records(pickle.dumps({b"data": DATA, b"labels": [3, 9]}, protocol)) == EXPECTED
    else:
        with pytest.raises(ValueError, match="which an array has no need of"):
            records(pickle.dumps({b"data": DATA, b"labels": [3, 9]}, protocol))


class Runs:
    """What asks to be run when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("key", [b"data", b"labels", b"more"])
def test_nothing_is_run(key: bytes, tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(ValueError, match=r"^no batch of CIFAR-10 \(it asks for posix\.mkdir, which an array has no"):
        records(pickle.dumps({b"data": DATA, b"labels": [3, 9], key: Runs(made)}, protocol=4))
    assert not made.exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": DATA, b"labels": [3]}, "(an array [2, 3072] of 'u1', with 1 labels)"),
        ({b"data": DATA[:, :-1], b"labels": [3, 9]}, "(an array [2, 3071] of 'u1', with 2 labels)"),
        ({b"data": DATA.astype(np.int8), b"labels": [3, 9]}, "(an array [2, 3072] of 'i1', with 2 labels)"),
        ({b"data": np.asfortranarray(DATA), b"labels": [3, 9]}, "(an array [2, 3072] of 'u1', with 2 labels)"),
        ({b"data": DATA, b"labels": [3, 256]}, "(bytes must be in range(0, 256))"),
        ({b"labels": [3, 9]}, "(b'data')"),
        ({b"data": DATA, b"labels": 10**12}, "(Value after * must be an iterable, not int)"),
        ([1, 2], "(list indices must be integers or slices, not bytes)"),
    ],
)
def test_other_contents_are_named(batch: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^no batch of CIFAR-10 {re.escape(message)}$"):
        records(pickle.dumps(batch, protocol=4))


def test_a_pickle_that_is_cut_off_is_named() -> None:
    with pytest.raises(ValueError, match=r"^no batch of CIFAR-10 \(pickle data was truncated\)$"):
        records(python_2_pickle(DATA, [3, 9])[:-10])
