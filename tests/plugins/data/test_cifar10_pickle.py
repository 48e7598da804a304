"""Batches of CIFAR-10's Python version: read as Python 2 wrote them, and never unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path

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


def test_the_labels_may_stand_after_the_pixels() -> None:
    """Python 2's dictionaries have no order."""
    before, _, rest = python_2_pickle(DATA, [3, 9]).partition(b"U\x06labels")
    labels, _, data = rest.partition(b"U\x04data")
    moved = before + b"U\x04data" + data.removesuffix(b"u.") + b"U\x06labels" + labels + b"u."
    assert pickle.loads(moved, encoding="bytes")[b"labels"] == [3, 9]
    assert records(moved) == EXPECTED


def test_nothing_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    runs = b"cposix\nmkdir\n(S'" + str(made).encode() + b"'\ntR0"  # calls mkdir, and forgets what it gives
    batch = python_2_pickle(DATA, [3, 9])
    harmful = batch[:2] + runs + batch[2:]
    pickle.loads(harmful, encoding="bytes")
    made.rmdir()  # so it does run when it is unpickled
    assert records(harmful) == EXPECTED
    assert not made.exists()


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (python_2_pickle(DATA, [3]), r"1 labels and 6,144 pixels"),
        (python_2_pickle(DATA[:, :-1], [3, 9]), r"2 labels and 6,142 pixels"),
        (python_2_pickle(DATA, [3, 256]), r"byte must be in range\(0, 256\)"),
        (pickle.dumps({b"data": DATA, b"labels": [3, 9]}), r"0 labels and 0 pixels"),
        (python_2_pickle(DATA, [3, 9])[:-10], r"expected 6144 bytes in a string4, but only \d+ remain"),
        (b"", r"pickle exhausted before seeing STOP"),
    ],
)
def test_other_contents_are_refused(pickled: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^no batch of CIFAR-10 \({message}\)$"):
        records(pickled)
