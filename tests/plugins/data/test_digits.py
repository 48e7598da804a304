"""Digits, against scikit-learn's own arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from framework.data import Facts
from framework.errors import OptionError
from framework.randomness import Keys
from framework_plugins.data.binarize import Binarization
from framework_plugins.data.digits import Digits


def test_the_three_sets_are_scikit_learns_images_each_once_with_its_label() -> None:
    dataset = Digits(batch_size=64).load()
    sets = [dataset.train, dataset.validation, dataset.test]
    assert [len(of) for of in sets] == [1397, 200, 200]
    rows = []
    for of in sets:
        pixels = of.examples(slice(None), Keys(0, "test", 0))
        assert pixels.dtype == torch.float32
        assert pixels.shape[1:] == (1, 8, 8)
        assert of.labels is not None
        rows += [(*image, label) for image, label in zip(pixels.flatten(1).tolist(), of.labels.tolist(), strict=True)]
    bunch = load_digits()
    expected = np.concatenate([bunch.data / 16, bunch.target[:, None]], axis=1)
    assert sorted(rows) == sorted(map(tuple, expected.tolist()))


@pytest.mark.parametrize(("how", "values"), [("none", "unit_interval"), ("threshold", "binary"), ("dynamic", "binary")])
def test_facts_are_those_of_what_is_loaded(how: Binarization, values: str) -> None:
    digits = Digits(batch_size=64, binarize=how)
    dataset = digits.load()
    expected = Facts((1, 8, 8), 1397, values, None if how == "none" else how, 10)  # type: ignore[arg-type]
    assert digits.facts() == dataset.facts == expected
    examples = dataset.train.examples(slice(None), Keys(0, "train", 0))
    assert (len(examples.unique()) == 2) == (values == "binary")
    assert 0 <= examples.min() < examples.max() <= 1


def test_dynamic_judges_all_seeds_on_the_same_bits_and_says_so() -> None:
    dataset = Digits(batch_size=64, binarize="dynamic").load()
    for of in (dataset.validation, dataset.test):
        one, other = of.examples(slice(None), Keys(0, "test", 0)), of.examples(slice(None), Keys(1, "test", 5))
        assert torch.equal(one, other)
    assert dataset.source.notes == (
        "The validation and test images are binarised once, by a draw with a fixed key: all seeds are judged on the "
        "same bits.",
    )


@pytest.mark.parametrize("batch_size", [0, 1398])
def test_a_minibatch_that_is_too_small_or_too_large_is_refused(batch_size: int) -> None:
    with pytest.raises(OptionError) as caught:
        Digits(batch_size=batch_size)
    assert str(caught.value) == f"batch_size: expected 1 to 1,397, the number of training images, found {batch_size}"
