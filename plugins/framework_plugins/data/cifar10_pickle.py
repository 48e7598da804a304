"""A batch of CIFAR-10's Python version → the records of its binary version, without running what a pickle may run."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # bytes: the label, then all red pixels, all green ones, all blue ones, each row by row


class _Parts:
    """Stands for an array, or for its type, in a pickle: it keeps what it was made of, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = ()

    def __setstate__(self, state: object) -> None:
        self.state = state


# The names that a pickled array asks for; numpy moved the first when it became 2.0. None of numpy is given out: even
# its own constructors can be made to ask for any amount of memory.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Parts,
    ("numpy._core.multiarray", "_reconstruct"): _Parts,
    ("numpy", "dtype"): _Parts,
    ("numpy", "ndarray"): "ndarray",
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which an array has no need of") from None


def records(pickled: bytes) -> bytes:
    """Return a batch's records, one of 3,073 bytes for each image.

    Args:
        pickled: a dictionary with `data`, an array [N, 3072] of uint8, and `labels`, a list of N whole numbers.

    Raises:
        ValueError: it is something else; the message completes "this file is …".
    """
    try:
        loaded = _Reader(io.BytesIO(pickled), encoding="bytes").load()
        _, shape, kind, by_columns, pixels = loaded[b"data"].state
        count, columns = shape
        code, labels = kind.arguments[0], [*loaded[b"labels"]]
        label_bytes = bytes(labels)  # each 0 … 255
    except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"no batch of CIFAR-10 ({error})") from error
    sizes = (columns, len(labels), len(pixels))
    if code not in (b"u1", "u1") or by_columns or sizes != (PIXELS, count, count * PIXELS):
        raise ValueError(f"no batch of CIFAR-10 (an array {list(shape)} of {code!r}, with {len(labels)} labels)")
    rows = np.empty((count, RECORD), np.uint8)
    rows[:, 0] = np.frombuffer(label_bytes, np.uint8)
    rows[:, 1:] = np.frombuffer(pixels, np.uint8).reshape(count, PIXELS)
    return rows.tobytes()
