"""fashion_mnist: photographs of clothes, 28 × 28, in MNIST's form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from framework import Data, DataError, Dataset, Facts, OptionError, register_data
from framework_plugins.data.binarize import (
    EVALUATION_NOTE,
    Binarization,
    binarization_of,
    three_splits,
    values_of,
)
from framework_plugins.data.idx_files import idx_files, read_idx_files

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)
IDX_FILES = idx_files(
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)


@register_data("fashion_mnist")
class FashionMNIST(Data):
    """Fashion-MNIST, split 50,000 / 10,000 / 10,000: the validation set is the last 10,000 images of the training file.

    Classes: T-shirt or top, trousers, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot. Looked for in the
    data directory's `fashion_mnist/` and `FashionMNIST/raw/` (torchvision's), then downloaded, and verified.

    Args:
        batch_size: examples in a minibatch, over all processes; 1 … 50,000.
        binarize: how a grey pixel becomes an example's value.
            `none`: x = pixel / 255 in [0, 1].
            `threshold`: 1 where x ≥ 1/2.
            `dynamic`: Bernoulli(x), drawn anew for every minibatch; for validation and test once, with a fixed key.
        data_directory: the folder to look in and to keep downloads in.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> FashionMNIST(batch_size=128, data_directory=Path("data")).facts().input_shape
        (1, 28, 28)

    Reference: Xiao, Rasul & Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, https://arxiv.org/abs/1708.07747.
    """

    def __init__(self, *, batch_size: int, binarize: Binarization = "none", data_directory: Path) -> None:
        if not 1 <= batch_size <= 50_000:
            raise OptionError("batch_size", found=batch_size, expected="1 to 50,000, the number of training images")
        self.batch_size, self.binarize = batch_size, binarize
        self.data_directory = data_directory

    def facts(self) -> Facts:
        how = self.binarize
        return Facts((1, 28, 28), 50_000, values_of(how), binarization_of(how), classes=10)

    def load(self) -> Dataset:
        ours, torchvision = self.data_directory / "fashion_mnist", self.data_directory / "FashionMNIST" / "raw"
        try:
            images = read_idx_files("Fashion-MNIST", IDX_FILES, [ours, torchvision], MIRRORS)
        except DataError as error:
            raise DataError(
                f"Fashion-MNIST cannot be had: {error}. Put {', '.join(f'{file.name}.gz' for file in IDX_FILES)} into "
                f"{ours}, or name the folder that holds fashion_mnist/ with FW_DATA_DIR or --data-dir."
            ) from error
        splits = three_splits(self.binarize, images.pixels, images.labels, maximum=255, name="fashion_mnist")
        notes = (*images.source.notes, EVALUATION_NOTE) if self.binarize == "dynamic" else images.source.notes
        return Dataset(self.facts(), replace(images.source, notes=notes), *splits)
