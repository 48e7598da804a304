"""Files that nobody vouches for: damaged, enormous, or with pickles in them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from framework.data import DataError
from framework_plugins.data.array_file import read_arrays


class Trap:
    """An object whose unpickling would end the test run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exit, ("a pickle was run",)


def header_claiming(shape: tuple[int, ...]) -> bytes:
    """Return the header of an array of bytes of some shape, without the array."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    np.save(tmp_path / "one.npy", x)
    np.savez_compressed(tmp_path / "two.npz", x=x, y=y)
    assert np.array_equal(read_arrays(tmp_path / "one.npy")["x"], x)
    both = read_arrays(tmp_path / "two.npz")
    assert sorted(both) == ["x", "y"]
    assert np.array_equal(both["x"], x)
    assert np.array_equal(both["y"], y)


@pytest.mark.parametrize("name", ["trap.npy", "trap.npz"])
def test_pickles_are_refused(name: str, tmp_path: Path) -> None:
    trap = np.array([Trap()], dtype=object)
    np.save(tmp_path / name, trap, allow_pickle=True) if name == "trap.npy" else np.savez(tmp_path / name, x=trap)
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} cannot be read: x holds Python objects, which could run code; save a plain array of numbers"
    )


@pytest.mark.parametrize("name", ["large.npy", "large.npz"])
def test_an_array_that_claims_more_than_is_allowed_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    claim = header_claiming((10**6, 10**6))
    if name.endswith(".npy"):
        (tmp_path / name).write_bytes(claim)
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x.npy", claim)
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} is too large to be held in memory: x of 1,000,000,000,000 bytes; expected at most "
        "34,359,738,368 bytes in all"
    )


def test_the_bound_is_on_all_arrays_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", x=np.zeros(60, np.uint8), y=np.zeros(60, np.uint8))
    assert len(read_arrays(tmp_path / "two.npz", max_bytes=120)) == 2
    with pytest.raises(DataError, match=r"x of 60 bytes, y of 60 bytes; expected at most 119 bytes in all$"):
        read_arrays(tmp_path / "two.npz", max_bytes=119)


def damaged() -> dict[str, tuple[bytes, str]]:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.arange(1000))
    archive = bytearray(stream.getvalue())
    archive[200:220] = bytes(20)
    return {
        "empty.npy": (b"", "EOF: reading magic string"),
        "text.npy": (b"1,2,3\n4,5,6\n", "the magic string is not correct"),
        "cut.npy": (header_claiming((10, 10)) + bytes(50), "50"),
        "text.npz": (b"1,2,3\n4,5,6\n", "File is not a zip file"),
        "flipped.npz": (bytes(archive), ""),
        "structured.npy": (b"\x93NUMPY\x03\x00" + bytes(20), "x is a structured array; save a plain array of numbers"),
    }


@pytest.mark.parametrize("name", sorted(damaged()))
def test_what_is_no_array_is_named_with_the_reason(name: str, tmp_path: Path) -> None:
    content, reason = damaged()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be read: ")
    assert reason in str(caught.value)
