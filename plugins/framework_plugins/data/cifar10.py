"""cifar10: small colour photographs of ten kinds of things, 32 × 32."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from framework import Data, DataError, Dataset, Facts, OptionError, Split, register_data
from framework.errors import nearest
from framework_plugins.data.binarize import scale
from framework_plugins.data.cifar10_files import CLASSES, Pictures, from_npz, published

SHAPE = (3, 32, 32)


@register_data("cifar10")
class CIFAR10(Data):
    """CIFAR-10, split 45,000 / 5,000 / 10,000: the validation set is the last tenth of the training images.

    x = pixel / 255 in [0, 1], colours first. Classes: aeroplane, car, bird, cat, deer, dog, frog, horse, ship, lorry.
    Looked for in the data directory and its `cifar10/`: the binary version, `cifar-10-batches-bin/` or
    `cifar-10-binary.tar.gz`; the Python version, `cifar-10-batches-py/` (torchvision's) or `cifar-10-python.tar.gz`,
    which is verified before it is looked into, and of whose pickles nothing is run; then downloaded, and verified.

    Args:
        batch_size: examples in a minibatch, over all processes; at most the number of training examples, 45,000.
        path: a .npz of your own to read in its place: `x_train` [N, 32, 32, 3] uint8, `y_train`, `x_test` and
            `y_test`, N of any size from 10. Relative to the working directory, or to the data directory.
        data_directory: the folder to look in and to keep downloads in.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> CIFAR10(batch_size=128, data_directory=Path("data")).facts().input_shape
        (3, 32, 32)

    Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.
    """

    def __init__(self, *, batch_size: int, path: str | None = None, data_directory: Path) -> None:
        if path is not None and batch_size < 1:
            raise OptionError("batch_size", found=batch_size, expected="at least 1")
        if path is None and not 1 <= batch_size <= 45_000:
            raise OptionError("batch_size", found=batch_size, expected="1 to 45,000, the number of training images")
        if path is not None and Path(path).suffix != ".npz":
            raise OptionError("path", found=path, expected="the path of a .npz file")
        self.batch_size, self.path = batch_size, path
        self.data_directory = data_directory

    def facts(self) -> Facts:
        """Return the facts; a file of your own is read and checked for them, once.

        Raises:
            OptionError: the file is not there, or has fewer training examples than a minibatch.
            DataError: what is in it cannot be used.
        """
        return _facts(45_000) if self.path is None else self._own(self.path).facts

    def load(self) -> Dataset:
        if self.path is not None:
            return self._own(self.path)
        try:
            return _dataset(published(self.data_directory))
        except DataError as error:
            raise DataError(
                f"CIFAR-10 cannot be had: {error}. Put cifar-10-binary.tar.gz into {self.data_directory / 'cifar10'}, "
                "or name the folder that holds cifar10/ with FW_DATA_DIR or --data-dir, or write data.path=FILE for a "
                ".npz of your own."
            ) from error

    def _own(self, path: str) -> Dataset:
        dataset, count = self._dataset_of_npz, len(self._dataset_of_npz.train)
        if self.batch_size > count:
            expected = f"1 to {count:,}, the number of training examples in {path}"
            raise OptionError("batch_size", found=self.batch_size, expected=expected)
        return dataset

    @cached_property
    def _dataset_of_npz(self) -> Dataset:
        file = self._file(str(self.path))
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            pictures = from_npz(file)
            note = f"{self.path} is unverified: its images were not compared with the published ones."
            source = replace(pictures.source, sha256={file.name: digest}, notes=(note,))
            return _dataset(replace(pictures, source=source))
        except ValueError as error:
            raise DataError(f"{self.path}: {error}") from error

    def _file(self, path: str) -> Path:
        """Return the file in the working directory, or else that in the data directory."""
        places = [Path(path).expanduser(), self.data_directory / path]
        for file in places:
            if file.is_file():
                return file
        near = nearest(places[0].name, [other.name for file in places for other in file.parent.glob("*.npz")])
        write = str(Path(path).with_name(near)) if near else ""
        raise OptionError("path", found=path, expected="a file that exists", write=write)


def _facts(dataset_size: int) -> Facts:
    return Facts(SHAPE, dataset_size, "unit_interval", classes=CLASSES)


def _dataset(pictures: Pictures) -> Dataset:
    """Return the data set, its validation set the last tenth of the training images, in the order of the files.

    Raises:
        ValueError: there are too few, or a label is no class.
    """
    count, labels = len(pictures.train), (pictures.train_labels, pictures.test_labels)
    if count < 10:
        raise ValueError(f"x_train has {count} images; expected at least 10, the last tenth of which is for validation")
    for name, of_set in zip(("y_train", "y_test"), labels, strict=True):
        outside = of_set[(of_set < 0) | (of_set >= CLASSES)]
        if len(outside):
            raise ValueError(f"{name} holds {int(outside[0])}; expected classes, 0 to {CLASSES - 1}")
    fitted = count - count // 10
    transform = partial(scale, maximum=255)
    sizes = f"{fitted:,} / {count - fitted:,} / {len(pictures.test):,} images"
    return Dataset(
        _facts(fitted),
        replace(pictures.source, description=f"{pictures.source.description}, {sizes}"),
        Split(pictures.train[:fitted], pictures.train_labels[:fitted], transform),
        Split(pictures.train[fitted:], pictures.train_labels[fitted:], transform),
        Split(pictures.test, pictures.test_labels, transform),
    )
