"""Examples of one's own to judge a model on, from a .npz or .npy file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framework.data import Facts, Split
from framework.errors import Problem, RecipeError, nearest

_BEGINNINGS = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # of an array, of a zip archive, and of an empty one
BINARIZATION = "file"  # the word behind a likelihood's name for bits that nobody knows the origin of


def read_examples(path: Path, facts: Facts, *, classes: int | None = None) -> tuple[Split, Facts]:
    """Return the examples of a file, all of them, and what is known of them.

    A .npy file holds examples; a .npz file holds `x` and, where there are labels, `y`; or `x_test` and `y_test`, as the
    data part `arrays` takes them. Bytes (uint8) are divided by 255, unless none is above 1: then they are bits, as bool
    is. Floating-point numbers are used as they are. Nothing in the file is run: pickles are refused.

    Args:
        path: the file.
        facts: of the data that the model was trained on; the examples must be of that shape and range. [N, H, W] is
            taken for [N, 1, H, W].
        classes: of a conditional model, which needs labels from 0 to `classes` − 1; None is of another.

    Returns:
        The split; and the facts with the word `file` for how bits came about, where the training data were binarised,
        and without classes where there are no labels.

    Raises:
        RecipeError: there is no such file, or what is in it cannot be used.
    """
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*.np[yz]")])
        write = str(path.with_name(near)) if near else ""
        raise _refused("there is no such set and no such file", path, "train, validation, test, or a file", write)
    arrays = _arrays(path)
    name = next((name for name in ("x", "x_test") if name in arrays), None)
    if name is None:
        raise _refused("there are no examples in the file", ", ".join(sorted(arrays)), "x, or x_test")
    inputs = _inputs(arrays[name], name, facts)
    of_labels = name.replace("x", "y")
    labels = _labels(arrays.get(of_labels), len(inputs), of_labels)
    if classes is not None:
        _check_classes(labels, classes, path, of_labels, arrays)
    known = None if labels is None else facts.classes
    return Split(inputs, labels), replace(facts, binarization=facts.binarization and BINARIZATION, classes=known)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        beginning = file.read(6)
    if not beginning.startswith(_BEGINNINGS):  # numpy would take it for a pickle, and advise to load that
        raise _refused("this is no .npy or .npz file", path, "a file that numpy.save or numpy.savez wrote")
    try:
        loaded = np.load(path, allow_pickle=False)
        return {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, BadZipFile) as error:
        raise _refused(f"the file cannot be read: {error}", path, "a .npy or .npz file without pickles") from error


def _inputs(array: NDArray[Any], name: str, facts: Facts) -> Tensor:
    """Return examples as a model takes them, [N, *input_shape] floating point."""
    shape = facts.input_shape
    if shape[0] == 1 and array.shape[1:] == shape[1:]:
        array = array[:, None]
    if array.shape[1:] != shape or not len(array):
        expected = f"[N, {', '.join(map(str, shape))}], N at least 1, as the model was trained on"
        last = len(shape) == 3 and array.ndim == 4 and (array.shape[3], *array.shape[1:3]) == shape
        write = f"{name}.transpose(0, 3, 1, 2)" if last else ""  # channels are last, as in most files of pictures
        raise _refused("these examples are of another shape", f"{name} {list(array.shape)}", expected, write)
    if array.dtype.kind not in "f" and array.dtype not in (np.uint8, np.bool_):
        raise _refused("these numbers are of another kind", f"{name} {array.dtype}", "uint8, bool or floating point")
    inputs = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.dtype == np.uint8 and array.max() > 1:
        inputs = inputs / 255
    if not inputs.isfinite().all():
        raise _refused("there are numbers that are not finite", name, "finite numbers")
    low, high = float(inputs.min()), float(inputs.max())
    if facts.values == "binary" and not bool(((inputs == 0) | (inputs == 1)).all()):
        found = f"{name} from {low:g} to {high:g}, with others between"
        raise _refused("the model is of zeros and ones", found, "bits: binarize them first")
    if facts.values == "unit_interval" and not 0 <= low <= high <= 1:
        raise _refused("the model is of numbers in [0, 1]", f"{name} from {low:g} to {high:g}", "numbers in [0, 1]")
    return inputs


def _labels(array: NDArray[Any] | None, count: int, name: str) -> Tensor | None:
    if array is None:
        return None
    if array.shape != (count,) or array.dtype.kind not in "iu":
        found = f"{name} {array.dtype} {list(array.shape)}"
        raise _refused("these are no labels of the examples", found, f"whole numbers of shape [{count}]")
    return torch.from_numpy(array.astype(np.int64))


def _check_classes(labels: Tensor | None, classes: int, path: Path, name: str, arrays: dict[str, NDArray[Any]]) -> None:
    expected = f"whole numbers from 0 to {classes - 1}, a label for each example, which a conditional model is told"
    if labels is None:
        write = f"numpy.savez(…, {name}=labels)"
        raise _refused(f"{path} has no {name}", ", ".join(sorted(arrays)), expected, write)
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < classes:
        raise _refused(f"{path} has labels of no class", f"{name} from {low} to {high}", expected)


def _refused(message: str, found: object, expected: str, write: str = "") -> RecipeError:
    return RecipeError([Problem(message, "--data", str(found), expected, write)])
