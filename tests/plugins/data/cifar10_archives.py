"""Tiny archives in the forms in which CIFAR-10 was published."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from framework.download import Published
from framework_plugins.data import cifar10_files
from framework_plugins.data.cifar10_files import as_they_are

IMAGES = 4  # in each of the six batches
_RANDOM = np.random.default_rng(0)
PIXELS = _RANDOM.integers(0, 256, (6, IMAGES, 3, 32, 32), np.uint8)
LABELS = _RANDOM.integers(0, 10, (6, IMAGES), np.uint8)


def binary_batches() -> dict[str, bytes]:
    """Return the six files of the binary version: a label and its image, again and again."""
    return {
        file.name: b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True))
        for file, labels, images in zip(cifar10_files.BATCHES, LABELS.tolist(), PIXELS, strict=True)
    }


def python_batches() -> dict[str, bytes]:
    """Return the six files of the Python version."""
    return {
        file.name: python_2_pickle(images.reshape(IMAGES, 3072), labels)
        for file, labels, images in zip(cifar10_files.PICKLES, LABELS.tolist(), PIXELS, strict=True)
    }


def python_2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """Return {'data': data, 'labels': labels, 'batch_label': …} as Python 2 wrote it: its strings are bytes now."""

    def string(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    pixels = data.tobytes()
    kind = b"cnumpy\ndtype\n" + string(b"u1") + integer(0) + integer(1) + b"\x87R"
    kind += b"(" + integer(3) + string(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + string(b"b") + b"\x87R"
    array += b"(" + integer(1) + integer(data.shape[0]) + integer(data.shape[1]) + b"\x86" + kind + b"\x89"
    array += b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    name = string(b"training batch 1 of 5")
    return b"\x80\x02}(" + string(b"batch_label") + name + string(b"labels") + listed + string(b"data") + array + b"u."


def archived(folder: str, files: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in {**files, "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def unpacked(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def publish(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Make the tiny files the published ones; return the binary version's archive."""
    archive = archived("cifar-10-batches-bin", binary_batches())
    for name, files in (("BATCHES", binary_batches()), ("PICKLES", python_batches())):
        known = tuple(_published(file, content) for file, content in files.items())
        monkeypatch.setattr(cifar10_files, name, known)
    monkeypatch.setattr(cifar10_files, "ARCHIVE", _published("cifar-10-binary.tar.gz", archive))
    return archive


def _published(name: str, content: bytes) -> Published:
    return Published(name, hashlib.sha256(content).hexdigest(), len(content), as_they_are)
