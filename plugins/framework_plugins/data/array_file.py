"""Arrays out of a .npy or .npz file that nobody vouches for: no pickles, and no more memory than is allowed."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from framework import DataError

MAX_BYTES = 32 * 2**30  # when unpacked, all arrays together: a .npz of some kilobytes can claim any size

Array = np.ndarray[Any, np.dtype[Any]]


def read_arrays(file: Path, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Return the arrays of a .npz by name, or that of a .npy as `x`.

    Args:
        file: the path of either; it exists.
        max_bytes: the most bytes that the arrays may take, by their headers, which are read first.

    Raises:
        DataError: the file is damaged, too large, or holds Python objects.
    """
    try:
        if file.suffix == ".npy":
            with file.open("rb") as stream:
                _check({"x": _bytes_claimed(stream, "x")}, file, max_bytes)
            return {"x": np.load(file, allow_pickle=False)}
        with zipfile.ZipFile(file) as archive:
            names = {name: name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            claimed = {}
            for member, name in names.items():
                with archive.open(member) as packed:
                    claimed[name] = _bytes_claimed(packed, name)
            _check(claimed, file, max_bytes)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in claimed}
    except DataError:
        raise
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _bytes_claimed(stream: IO[bytes], name: str) -> int:
    """Return the bytes that an array will take, by its header.

    Raises:
        ValueError: the header is none that an array of numbers has.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, kind = np.lib.format.read_array_header_2_0(stream)
    else:  # 3.0 is for the names of fields
        raise ValueError(f"{name} is a structured array; save a plain array of numbers for each field")
    if kind.hasobject:
        raise ValueError(f"{name} holds Python objects, which could run code; save a plain array of numbers")
    return math.prod(shape) * kind.itemsize


def _check(claimed: dict[str, int], file: Path, max_bytes: int) -> None:
    if sum(claimed.values()) > max_bytes:
        sizes = ", ".join(f"{name} of {size:,} bytes" for name, size in claimed.items())
        raise DataError(
            f"{file} is too large to be held in memory: {sizes}; expected at most {max_bytes:,} bytes in all"
        )
