"""A batch of CIFAR-10's Python version → the records of its binary version. It is a pickle, and is never unpickled."""

from __future__ import annotations

import pickletools

import numpy as np

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # bytes: the label, then all red pixels, all green ones, all blue ones, each row by row


def records(pickled: bytes) -> bytes:
    """Return a batch's records, one of 3,073 bytes for each image.

    A pickle is a program; this one is read as text is. It makes a dictionary of Python 2, in which the whole numbers
    between the string "labels" and the next string are the labels, and the longest string is the pixels of an array
    [N, 3072] of uint8, by rows.

    Args:
        pickled: the bytes of a published file.

    Raises:
        ValueError: they are something else; the message completes "this file is …".
    """
    labels, last, longest = bytearray(), "", ""
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in ("SHORT_BINSTRING", "BINSTRING") and isinstance(argument, str):
                last, longest = argument, max(longest, argument, key=len)
            elif opcode.name in ("BININT", "BININT1") and last == "labels" and isinstance(argument, int):
                labels.append(argument)
    except ValueError as error:
        raise ValueError(f"no batch of CIFAR-10 ({error})") from error
    if not labels or len(longest) != len(labels) * PIXELS:
        raise ValueError(f"no batch of CIFAR-10 ({len(labels):,} labels and {len(longest):,} pixels)")
    rows = np.empty((len(labels), RECORD), np.uint8)
    rows[:, 0] = labels
    rows[:, 1:] = np.frombuffer(longest.encode("latin-1"), np.uint8).reshape(-1, PIXELS)  # as pickletools reads bytes
    return rows.tobytes()
