"""Four IDX files of grey images and their labels, as MNIST has them: 60,000 for training and 10,000 for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from framework import Source
from framework.download import Obtained, Published, obtain

SIDE = 28  # pixels
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes: the type, the number of dimensions, and the dimensions


@dataclass(frozen=True)
class Images:
    """Grey images in their three sets.

    Args:
        pixels: of the training, the validation and the test set, each [N, 1, 28, 28] uint8: 0 … 255, or 0 and 1 where
            they are binarised already.
        labels: of each, [N] int64; None where there are none.
        source: where they came from.
    """

    pixels: tuple[Tensor, Tensor, Tensor]
    labels: tuple[Tensor, Tensor, Tensor] | None
    source: Source


def idx_files(
    train_images: str, train_labels: str, test_images: str, test_labels: str
) -> tuple[Published, Published, Published, Published]:
    """Return the four files, by the sha256 of each.

    The sums are of the unpacked bytes: the gzip header holds a time stamp, so that good copies differ in it.
    """
    pixels = SIDE * SIDE
    return (
        Published("train-images-idx3-ubyte", train_images, IMAGES_HEADER + 60_000 * pixels),
        Published("train-labels-idx1-ubyte", train_labels, LABELS_HEADER + 60_000),
        Published("t10k-images-idx3-ubyte", test_images, IMAGES_HEADER + 10_000 * pixels),
        Published("t10k-labels-idx1-ubyte", test_labels, LABELS_HEADER + 10_000),
    )


def read_idx_files(
    name: str, files: tuple[Published, Published, Published, Published], folders: Sequence[Path], mirrors: Sequence[str]
) -> Images:
    """Return 50,000 images, the last 10,000 of the training file, and the 10,000 of the test file.

    Args:
        name: of the data set, for the record.
        files: in the order of `idx_files`.
        folders: where they may lie, packed or unpacked; downloads are kept in the first.
        mirrors: URLs of folders that they may be downloaded from.

    Raises:
        DataError: one of the four files cannot be had.
    """
    obtained = [
        obtain(
            file,
            [folder / f"{file.name}{suffix}" for folder in folders for suffix in (".gz", "")],
            [f"{mirror}/{file.name}.gz" for mirror in mirrors],
            folders[0] / f"{file.name}.gz",
        )
        for file in files
    ]
    images, labels, test_images, test_labels = (unsigned_bytes(file.content) for file in obtained)
    pixels = images[IMAGES_HEADER:].view(60_000, 1, SIDE, SIDE)
    train, validation = torch.split(pixels, [50_000, 10_000])
    train_labels, validation_labels = torch.split(labels[LABELS_HEADER:].long(), [50_000, 10_000])
    return Images(
        (train, validation, test_images[IMAGES_HEADER:].view(10_000, 1, SIDE, SIDE)),
        (train_labels, validation_labels, test_labels[LABELS_HEADER:].long()),
        source_of(f"{name}, 50,000 / 10,000 / 10,000 images", files, obtained),
    )


def unsigned_bytes(content: bytes) -> Tensor:
    """Return bytes as a tensor of their own, [N] uint8."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def source_of(description: str, files: Sequence[Published], obtained: Sequence[Obtained]) -> Source:
    """Return the source of a data set that was read from published files."""
    return Source(
        description,
        " and ".join(dict.fromkeys(file.folder for file in obtained)),
        {file.name: file.sha256 for file in files},
        notes=tuple(dict.fromkeys(f"{remark}." for file in obtained for remark in file.remarks)),
    )
