"""The files that hold CIFAR-10: the published archives, packed or unpacked, and an .npz of it or of a part."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from framework import DataError, Source
from framework.download import Published, Wait, fetch, find
from framework_plugins.data.array_file import Array, read_arrays
from framework_plugins.data.cifar10_pickle import RECORD, records

MIRRORS = (
    "https://www.cs.toronto.edu/~kriz",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
)
CLASSES = 10
SLACK = 2**20  # bytes in an archive besides the batches: headers, the names of the classes, a page to read


def as_they_are(content: bytes, _: int) -> bytes:
    """Return bytes that are not packed."""
    return content


def _batch(name: str, sha256: str, size: int) -> Published:
    return Published(name, sha256, size, as_they_are)


BATCHES = (
    _batch("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5", 10_000 * RECORD),
    _batch("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed", 10_000 * RECORD),
    _batch("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67", 10_000 * RECORD),
    _batch("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48", 10_000 * RECORD),
    _batch("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add", 10_000 * RECORD),
    _batch("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b", 10_000 * RECORD),
)
PICKLES = (
    _batch("data_batch_1", "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd", 31_035_704),
    _batch("data_batch_2", "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8", 31_035_320),
    _batch("data_batch_3", "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9", 31_035_999),
    _batch("data_batch_4", "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b", 31_035_696),
    _batch("data_batch_5", "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154", 31_035_623),
    _batch("test_batch", "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831", 31_035_526),
)
ARCHIVE = Published(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
    as_they_are,
)


@dataclass(frozen=True)
class Pictures:
    """CIFAR-10, or a part of it.

    Args:
        train: all training images, [N, 3, 32, 32] uint8.
        train_labels: [N] int64.
        test: [M, 3, 32, 32] uint8.
        test_labels: [M] int64.
        source: where they came from; without their numbers, which are the split's.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    source: Source


@dataclass(frozen=True)
class _Version:
    """One of the two forms in which CIFAR-10 was published.

    Args:
        archive: the name of its archive.
        folder: that of the folder in it.
        files: the six batches, the test's last.
        records: what a verified batch holds, as records.
    """

    archive: str
    folder: str
    files: tuple[Published, ...]
    records: Callable[[bytes], bytes]


def published(data_directory: Path) -> Pictures:
    """Return all of CIFAR-10, from the binary version or the Python version, unpacked or packed; or download it.

    Each batch is verified before it is looked into.

    Raises:
        DataError: it cannot be had; the message names every place and URL, with the reason.
    """
    versions = (
        _Version("cifar-10-binary.tar.gz", "cifar-10-batches-bin", BATCHES, bytes),
        _Version("cifar-10-python.tar.gz", "cifar-10-batches-py", PICKLES, records),
    )
    reasons: list[str] = []
    for version in versions:
        for folder in (data_directory / "cifar10", data_directory):
            for place, read in ((folder / version.folder, _of_folder), (folder / version.archive, _of_archive)):
                if place.exists():
                    try:
                        return _pictures(version, read(place, version), str(place), tuple(reasons))
                    except (OSError, ValueError) as error:
                        reasons.append(f"{place} is {error}" if isinstance(error, ValueError) else str(error))
    names = " or ".join(name for version in versions for name in (version.archive, version.folder))
    missing = reasons or [f"{names} is not in {data_directory / 'cifar10'} or {data_directory}"]
    destination = data_directory / "cifar10" / ARCHIVE.name
    try:
        fetched = fetch(ARCHIVE, [f"{mirror}/{ARCHIVE.name}" for mirror in MIRRORS], destination, Wait())
        batches = list(_members(io.BytesIO(fetched.content), versions[0]))
    except (DataError, ValueError) as error:
        raise DataError("; ".join((*missing, str(error)))) from error
    return _pictures(versions[0], batches, fetched.folder, (*reasons, *fetched.remarks))


def from_npz(file: Path) -> Pictures:
    """Return the images of an .npz: `x_train` [N, 32, 32, 3] uint8, `y_train` [N] or [N, 1], `x_test` and `y_test`.

    Raises:
        DataError: it cannot be read.
        ValueError: its arrays are others; the message says which, and how.
    """
    arrays = read_arrays(file)
    x, y = _images(arrays, "x_train"), _labels(arrays, "y_train", "x_train")
    test_x, test_y = _images(arrays, "x_test"), _labels(arrays, "y_test", "x_test")
    return Pictures(x, y, test_x, test_y, Source(file.name, str(file)))


def _pictures(version: _Version, batches: list[bytes], location: str, remarks: tuple[str, ...]) -> Pictures:
    *train, test = (_tensors(version.records(batch)) for batch in batches)
    source = Source(
        "CIFAR-10",
        location,
        {file.name: file.sha256 for file in version.files},
        notes=tuple(f"{remark}." for remark in remarks),
    )
    return Pictures(torch.cat([x for x, _ in train]), torch.cat([y for _, y in train]), *test, source)


def _tensors(batch: bytes) -> tuple[Tensor, Tensor]:
    """Return the images [N, 3, 32, 32] uint8 and labels [N] int64 of records."""
    rows = torch.frombuffer(bytearray(batch), dtype=torch.uint8).view(-1, RECORD)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long()


def _of_folder(folder: Path, version: _Version) -> list[bytes]:
    """Return the six batches of an unpacked archive.

    Raises:
        ValueError: one is missing or damaged; the message completes "this folder is …".
    """
    batches = []
    for file in version.files:
        content, place, damaged = find(file, [folder / file.name])
        if place is None:
            raise ValueError(f"not whole: {damaged[0] if damaged else f'it has no {file.name}'}")
        batches.append(content)
    return batches


def _of_archive(place: Path, version: _Version) -> list[bytes]:
    with place.open("rb") as packed:
        return list(_members(packed, version))


def _members(packed: IO[bytes], version: _Version) -> Iterator[bytes]:
    """Yield the six batches of an archive, in order; nothing is written, and no more is unpacked than they have.

    Raises:
        ValueError: one is missing or damaged; the message completes "this archive is …".
    """
    wanted = {f"{version.folder}/{file.name}": file for file in version.files}
    limit = sum(file.size for file in version.files) + SLACK
    found: dict[str, bytes] = {}
    try:
        with (
            gzip.GzipFile(fileobj=packed) as stream,
            # Of a stream tarfile asks for nothing but `read`.
            tarfile.open(fileobj=_Bounded(stream, limit), mode="r|") as archive,  # type: ignore[call-overload]
        ):
            for member in archive:
                file = wanted.get(member.name) if member.isreg() else None
                content = archive.extractfile(member) if file is not None and member.size == file.size else None
                if file is not None and content is not None:
                    found[file.name] = file.verified(content.read())
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"a damaged archive ({error})") from error
    for file in version.files:
        if file.name not in found:
            raise ValueError(f"not the published archive: it has no {file.name} of {file.size:,} bytes")
        yield found[file.name]


class _Bounded:
    """A stream that gives a number of bytes and then raises: a tar header can claim any size."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._left, self._limit = stream, limit, limit

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"not the published archive: more than {self._limit:,} unpacked bytes")
        return content


def _array(arrays: dict[str, Array], name: str) -> Array:
    if name not in arrays:
        found = ", ".join(sorted(arrays)) or "no array"
        raise ValueError(f"there is no array {name}; expected x_train, y_train, x_test and y_test; found {found}")
    return arrays[name]


def _images(arrays: dict[str, Array], name: str) -> Tensor:
    """Return images as [N, 3, 32, 32] uint8."""
    array = _array(arrays, name)
    if array.ndim != 4 or array.shape[1:] != (32, 32, 3) or array.dtype != np.uint8 or not len(array):
        raise ValueError(
            f"{name} is {array.dtype} of shape {list(array.shape)}; expected uint8 of shape [N, 32, 32, 3], colours "
            "last"
        )
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def _labels(arrays: dict[str, Array], name: str, images: str) -> Tensor:
    """Return labels as [N] int64."""
    array, count = _array(arrays, name), len(arrays[images])
    if array.shape not in ((count,), (count, 1)) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is {array.dtype} of shape {list(array.shape)}; expected integers of shape [{count}], one for each "
            f"row of {images}"
        )
    return torch.from_numpy(array.reshape(count).astype(np.int64))
