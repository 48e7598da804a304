"""The user's own arrays: shapes, ranges, splits, and what is said of those that cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import DataError, Facts, Split
from framework.errors import OptionError
from framework.randomness import Keys
from framework_plugins.data.arrays import Arrays

RANDOM = np.random.default_rng(0)


def saved(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


def examples(of: Split) -> torch.Tensor:
    return of.examples(slice(None), Keys(0, "test", 0))


def refused(folder: Path, **arrays: np.ndarray) -> str:
    """Return what is said of arrays that cannot be used, without the path before it."""
    path = saved(folder, **arrays)
    with pytest.raises(DataError) as caught:
        Arrays(batch_size=1, path=path).facts()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("shape", "input_shape"), [((20, 5), (5,)), ((20, 6, 7), (1, 6, 7)), ((20, 2, 6, 7), (2, 6, 7))]
)
def test_one_array_is_split_80_10_10_each_row_once_with_its_label(
    shape: tuple[int, ...], input_shape: tuple[int, ...], tmp_path: Path
) -> None:
    x, y = RANDOM.normal(size=shape), np.arange(20)
    path = saved(tmp_path, x=x, y=y)
    part = Arrays(batch_size=4, path=path)
    dataset = part.load()
    assert part.facts() == dataset.facts == Facts(input_shape, 16, "real", classes=20)
    sets = [dataset.train, dataset.validation, dataset.test]
    assert [len(of) for of in sets] == [16, 2, 2]
    labels = torch.cat([of.labels for of in sets if of.labels is not None])
    assert sorted(labels.tolist()) == list(range(20))
    read = torch.cat([examples(of) for of in sets])
    assert read.dtype == torch.float32
    assert np.array_equal(read.numpy().reshape(20, -1), x.astype(np.float32).reshape(20, -1)[labels.numpy()])

    assert dataset.source.description == "mine.npz, 16 / 2 / 2 examples"
    assert dataset.source.location == path
    assert dataset.source.sha256 == {"mine.npz": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    assert dataset.source.notes == (
        "The file's x is split 80 / 10 / 10 % by a fixed shuffle, the same for every seed.",
    )


def test_a_npy_file_is_one_array_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", RANDOM.normal(size=(25, 3)))
    dataset = Arrays(batch_size=4, path=str(tmp_path / "mine.npy")).load()
    assert [len(of) for of in (dataset.train, dataset.validation, dataset.test)] == [21, 2, 2]
    assert dataset.train.labels is dataset.test.labels is None


def test_three_sets_stay_as_they_are(tmp_path: Path) -> None:
    x = {f"x_{name}": RANDOM.normal(size=(rows, 3)) for name, rows in [("train", 5), ("validation", 3), ("test", 2)]}
    dataset = Arrays(
        batch_size=5, path=saved(tmp_path, **x, y_test=np.array([7, 8], np.uint8), words=np.zeros(3))
    ).load()
    for of, array in zip((dataset.train, dataset.validation, dataset.test), x.values(), strict=True):
        assert np.array_equal(examples(of).numpy(), array.astype(np.float32))
    assert dataset.train.labels is None
    assert dataset.facts.classes is None
    assert dataset.test.labels is not None
    assert dataset.test.labels.tolist() == [7, 8]
    assert dataset.source.notes == (f"{tmp_path / 'mine.npz'} also holds words: not used.",)


BITS = RANDOM.integers(0, 2, size=(20, 4))


@pytest.mark.parametrize(
    ("x", "values", "expected"),
    [
        (BITS.astype(bool), "binary", BITS),
        (BITS.astype(np.uint8), "binary", BITS),
        ((BITS * 255).astype(np.uint8), "binary", BITS),
        ((BITS * 51 + 51).astype(np.uint8), "unit_interval", (BITS + 1) / 5),
        (BITS.astype(np.float64), "binary", BITS),
        ((BITS / 3).astype(">f8"), "unit_interval", BITS / 3),
        (BITS * 1.001, "real", BITS * 1.001),
        (BITS - 0.5, "real", BITS - 0.5),
        (BITS.astype(np.float16), "binary", BITS),
    ],
    ids=["bool", "bits", "black-white", "grey", "float-bits", "big-endian", "above", "below", "half"],
)
def test_the_range_is_that_of_the_data(x: np.ndarray, values: str, expected: np.ndarray, tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=x, x_validation=x, x_test=x)
    dataset = Arrays(batch_size=4, path=path).load()
    assert dataset.facts.values == values
    assert examples(dataset.train).dtype == torch.float32
    assert np.allclose(examples(dataset.train).numpy(), expected, rtol=1e-6, atol=0)


def test_the_range_is_that_of_all_three_sets(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=BITS * 1.0, x_validation=BITS * 0.5, x_test=BITS * 2.0)
    assert Arrays(batch_size=4, path=path).facts().values == "real"
    path = saved(
        tmp_path, x_train=BITS.astype(np.uint8), x_validation=BITS.astype(np.uint8), x_test=np.full((1, 4), 9, np.uint8)
    )
    assert Arrays(batch_size=4, path=path).facts().values == "unit_interval"


def test_bytes_that_are_taken_for_bits_are_noted(tmp_path: Path) -> None:
    bits = BITS.astype(np.uint8)
    dataset = Arrays(batch_size=4, path=saved(tmp_path, x_train=bits, x_validation=bits, x_test=bits)).load()
    assert dataset.source.notes == ("The file's bytes are all 0 or 1: they are taken for bits, not for grey values.",)


def test_channels_that_seem_to_come_last_are_noted(tmp_path: Path) -> None:
    dataset = Arrays(batch_size=4, path=saved(tmp_path, x=RANDOM.random((20, 8, 8, 3)))).load()
    assert dataset.source.notes[0] == (
        "x is taken for images of 8 channels, 8 × 3; write x.transpose(0, 3, 1, 2) if its channels come last."
    )


def with_value(value: float) -> np.ndarray:
    x = np.zeros((20, 2, 2))
    x[7, 1, 0] = x[9, 0, 0] = value
    return x


X = np.zeros((20, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": with_value(np.nan)},
            "x: row 7 (from 0) holds nan; expected finite numbers; 2 of 20 rows have others",
        ),
        (
            {"x": with_value(1e300)},
            "x: row 7 (from 0) holds inf; expected finite numbers; 2 of 20 rows have others",
        ),
        (
            {"x": X.astype(np.int64)},
            "x is of type int64; expected uint8 (divided by 255), bool, or floating point; write x.astype(np.float32) "
            "if the numbers are to be used as they are",
        ),
        ({"x": X[:, 0]}, "x has the shape [20]; expected [N, D], [N, H, W] or [N, C, H, W]"),
        ({"x": X[:, :0]}, "x has the shape [20, 0]; expected [N, D], [N, H, W] or [N, C, H, W]"),
        ({"x": X[:9]}, "the validation set is empty; expected at least 10 rows in x, or one in each of the three"),
        ({"x": X[:0]}, "the train set is empty; expected at least 10 rows in x, or one in each of the three"),
        (
            {"x_train": X, "x_valid": X, "x_test": X},
            "there is no array x_validation; expected x, or x_train, x_validation and x_test; found x_test, x_train, "
            "x_valid; write x_validation for x_valid",
        ),
        ({}, "there is no array x_train; expected x, or x_train, x_validation and x_test; found no array"),
        (
            {"x": X, "x_test": X},
            "it holds x and also x_test; expected either x, or x_train, x_validation and x_test",
        ),
        (
            {"x_train": X, "x_validation": X[:, :3], "x_test": X.astype(bool)},
            "the sets differ: x_train float32 [4], x_validation float32 [3], x_test bool [4]; expected one type and "
            "one shape of examples",
        ),
        (
            {"x": X, "y": np.zeros(19, int)},
            "y is int64 of shape [19]; expected integers of shape [20], one for each row of x",
        ),
        (
            {"x": X, "y": np.zeros(20)},
            "y is float64 of shape [20]; expected integers of shape [20], one for each row of x",
        ),
        ({"x": X, "y": np.arange(20) - 1}, "y holds -1; expected classes, counted from 0"),
    ],
    ids=[
        "nan", "overflow", "integers", "1d", "no-values", "too-few", "none", "misnamed", "no-arrays", "both", "differ",
        "labels-shape", "labels-type", "labels-negative",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_what_to_write(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, **arrays) == message


def test_a_missing_file_is_an_option_error_that_names_the_nearest(tmp_path: Path) -> None:
    saved(tmp_path, x=X)
    with pytest.raises(OptionError) as caught:
        Arrays(batch_size=1, path=str(tmp_path / "mien.npz")).facts()
    assert str(caught.value) == (
        f"path: expected a file that exists, found {tmp_path}/mien.npz; write {tmp_path}/mine.npz"
    )
    with pytest.raises(OptionError) as caught:
        Arrays(batch_size=1, path=str(tmp_path / "nowhere" / "mine.npz")).facts()
    assert str(caught.value) == f"path: expected a file that exists, found {tmp_path}/nowhere/mine.npz"


def test_constructing_one_reads_nothing_and_checks_the_options() -> None:
    Arrays(batch_size=1, path="nowhere.npz")
    with pytest.raises(OptionError) as caught:
        Arrays(batch_size=0, path="nowhere.npz")
    assert str(caught.value) == "batch_size: expected at least 1, found 0"
    with pytest.raises(OptionError) as caught:
        Arrays(batch_size=1, path="data.csv")
    assert str(caught.value) == "path: expected the path of a .npz or .npy file, found data.csv"


def test_a_minibatch_larger_than_the_training_set_is_refused(tmp_path: Path) -> None:
    part = Arrays(batch_size=17, path=saved(tmp_path, x=X))
    for use in (part.facts, part.load):
        with pytest.raises(OptionError) as caught:
            use()
        assert str(caught.value) == (
            f"batch_size: expected 1 to 16, the number of training examples in {part.path}, found 17"
        )
