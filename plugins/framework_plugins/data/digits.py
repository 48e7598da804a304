"""digits: handwritten digits, 8 × 8, that come with scikit-learn."""

from __future__ import annotations

import hashlib

import torch

from framework import Data, Dataset, Facts, OptionError, Source, register_data
from framework_plugins.data.binarize import EVALUATION_NOTE, Binarization, binarization_of, three_splits, values_of
from framework_plugins.data.fixed_split import fixed_split

SIZES = (1_397, 200, 200)
BRIGHTEST = 16  # a pixel counts the ink in a block of 4 × 4


@register_data("digits")
class Digits(Data):
    """1,797 handwritten digits, 8 × 8, split 1,397 / 200 / 200 by a fixed shuffle. Nothing is downloaded.

    They are the test part of the UCI set; not a smaller MNIST: other writers, other pixels.

    Args:
        batch_size: examples in a minibatch, over all processes; 1 … 1,397.
        binarize: how a pixel becomes an example's value.
            `none`: x = pixel / 16 in [0, 1].
            `threshold`: 1 where x ≥ 1/2.
            `dynamic`: Bernoulli(x), drawn anew for every minibatch; for validation and test once, with a fixed key.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> Digits(batch_size=64).facts()
        Facts(input_shape=(1, 8, 8), dataset_size=1397, values='unit_interval', binarization=None, classes=10)

    Reference: Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49.
    """

    def __init__(self, *, batch_size: int, binarize: Binarization = "none") -> None:
        if not 1 <= batch_size <= SIZES[0]:
            raise OptionError("batch_size", found=batch_size, expected="1 to 1,397, the number of training images")
        self.batch_size, self.binarize = batch_size, binarize

    def facts(self) -> Facts:
        return Facts((1, 8, 8), SIZES[0], values_of(self.binarize), binarization_of(self.binarize), classes=10)

    def load(self) -> Dataset:
        from sklearn.datasets import load_digits  # takes a second to import

        bunch = load_digits()
        pixels = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)  # [N, 1, 8, 8], whole numbers 0 … 16
        labels = torch.from_numpy(bunch.target).long()
        source = Source(
            "the 1,797 digits of scikit-learn, 1,397 / 200 / 200 by a fixed shuffle",
            "the scikit-learn package",
            {"images": hashlib.sha256(pixels.numpy().tobytes()).hexdigest()},
            notes=(EVALUATION_NOTE,) if self.binarize == "dynamic" else (),
        )
        train, validation, test = fixed_split(SIZES, "digits")
        return Dataset(
            self.facts(),
            source,
            *three_splits(
                self.binarize,
                (pixels[train], pixels[validation], pixels[test]),
                (labels[train], labels[validation], labels[test]),
                maximum=BRIGHTEST,
                name="digits",
            ),
        )
