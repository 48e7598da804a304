"""arrays: the user's own data, in a .npz or .npy file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework import Data, DataError, Dataset, Facts, OptionError, Source, Split, register_data
from framework.data import Values, as_is
from framework.errors import nearest
from framework_plugins.data.array_file import Array, read_arrays
from framework_plugins.data.binarize import as_float, scale
from framework_plugins.data.fixed_split import fixed_split

SETS = ("train", "validation", "test")


@register_data("arrays")
class Arrays(Data):
    """Arrays from a file: .npz, with three sets or with one array that is split; or .npy, one array that is split.

    A .npz holds `x_train`, `x_validation`, `x_test` and, where there are labels, `y_train`, `y_validation`, `y_test`;
    or `x` and perhaps `y`, which are split 80 / 10 / 10 % by a fixed shuffle. Labels are whole numbers, the classes
    from 0 to the largest that is there. [N, D] gives examples of shape (D,),
    [N, H, W] gives (1, H, W) and [N, C, H, W] gives (C, H, W). Bytes (uint8) are divided by 255, unless none is above
    1: then they are bits, as bool is. Floating-point numbers are used as they are. Nothing in the file is run: pickles
    are refused.

    Args:
        batch_size: examples in a minibatch, over all processes; at most the number of training examples.
        path: the file, relative to the working directory.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> Arrays(batch_size=32, path="measurements.npz").batch_size
        32
    """

    def __init__(self, *, batch_size: int, path: str) -> None:
        if batch_size < 1:
            raise OptionError("batch_size", found=batch_size, expected="at least 1")
        if Path(path).suffix not in (".npz", ".npy"):
            raise OptionError("path", found=path, expected="the path of a .npz or .npy file")
        self.batch_size, self.path = batch_size, path

    def facts(self) -> Facts:
        """Return the facts; the file is read and checked for them, once.

        Raises:
            OptionError: the file is not there, or has fewer training examples than a minibatch.
            DataError: what is in it cannot be used.
        """
        facts = self._dataset.facts
        if self.batch_size > facts.dataset_size:
            expected = f"1 to {facts.dataset_size:,}, the number of training examples in {self.path}"
            raise OptionError("batch_size", found=self.batch_size, expected=expected)
        return facts

    def load(self) -> Dataset:
        self.facts()
        return self._dataset

    @cached_property
    def _dataset(self) -> Dataset:
        file = Path(self.path).expanduser()
        if not file.is_file():
            near = nearest(file.name, [other.name for other in file.parent.glob("*.np[yz]")])
            write = str(Path(self.path).with_name(near)) if near else ""
            raise OptionError("path", found=self.path, expected="a file that exists", write=write)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        try:
            return dataset(read_arrays(file), self.path, digest)
        except ValueError as error:
            raise DataError(f"{self.path}: {error}") from error


def dataset(arrays: dict[str, Array], path: str, digest: str) -> Dataset:
    """Return the data set that the arrays of a file make.

    Args:
        arrays: by name, as `Arrays` describes them.
        path: the file, for the record.
        digest: its sha256, for the record.

    Raises:
        ValueError: they make none; the message says which array, and why.
    """
    names = ("x",) if "x" in arrays else tuple(f"x_{name}" for name in SETS)
    _check_names(arrays, names)
    inputs = [_inputs(arrays[name], name) for name in names]
    labels = [_labels(arrays, name) for name in names]
    values, transform, notes = _range(inputs, names)
    notes += [note for name in names for note in _doubts(arrays[name], name)]
    if unused := sorted(arrays.keys() - {*names, *(name.replace("x", "y") for name in names)}):
        notes.append(f"{path} also holds {', '.join(unused)}: not used.")
    if names == ("x",):
        count = len(inputs[0])
        rows = fixed_split((count - 2 * (count // 10), count // 10, count // 10), "arrays")
        inputs = [inputs[0][chosen] for chosen in rows]
        labels = [None if labels[0] is None else labels[0][chosen] for chosen in rows]
        notes.append("The file's x is split 80 / 10 / 10 % by a fixed shuffle, the same for every seed.")
    for name, of_set in zip(SETS, inputs, strict=True):
        if not len(of_set):
            raise ValueError(f"the {name} set is empty; expected at least 10 rows in x, or one in each of the three")
    train, validation, test = (Split(x, y, transform) for x, y in zip(inputs, labels, strict=True))
    sizes = " / ".join(f"{len(of_set):,}" for of_set in inputs)
    source = Source(f"{Path(path).name}, {sizes} examples", path, {Path(path).name: digest}, notes=tuple(notes))
    facts = Facts(tuple(train.inputs.shape[1:]), len(train), values, classes=_classes(labels))
    return Dataset(facts, source, train, validation, test)


def _check_names(arrays: dict[str, Array], names: tuple[str, ...]) -> None:
    if names == ("x",) and (both := sorted({f"x_{name}" for name in SETS} & arrays.keys())):
        raise ValueError(
            f"it holds x and also {', '.join(both)}; expected either x, or x_train, x_validation and x_test"
        )
    for name in names:
        if name not in arrays:
            near = nearest(name, arrays)
            raise ValueError(
                f"there is no array {name}; expected x, or x_train, x_validation and x_test; found "
                f"{', '.join(sorted(arrays)) or 'no array'}" + (f"; write {name} for {near}" if near else "")
            )


def _inputs(array: Array, name: str) -> Tensor:
    """Return an array as a tensor [N, D] or [N, C, H, W] of bool, uint8 or float32."""
    if array.ndim not in (2, 3, 4) or 0 in array.shape[1:]:
        raise ValueError(f"{name} has the shape {list(array.shape)}; expected [N, D], [N, H, W] or [N, C, H, W]")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found below
            array = array.astype(np.float32)
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if bad.any():
            row = int(bad.argmax())
            value = array[row][~np.isfinite(array[row])][0]
            raise ValueError(
                f"{name}: row {row} (from 0) holds {value}; expected finite numbers; {int(bad.sum()):,} of "
                f"{len(array):,} rows have others"
            )
    elif array.dtype not in (np.uint8, np.bool_):
        raise ValueError(
            f"{name} is of type {array.dtype}; expected uint8 (divided by 255), bool, or floating point; write "
            f"{name}.astype(np.float32) if the numbers are to be used as they are"
        )
    inputs = torch.from_numpy(np.ascontiguousarray(array))
    return inputs.unsqueeze(1) if array.ndim == 3 else inputs


def _labels(arrays: dict[str, Array], name: str) -> Tensor | None:
    """Return the labels that belong to an array of inputs, [N] int64, or None."""
    label_name = name.replace("x", "y")
    if label_name not in arrays:
        return None
    labels, count = arrays[label_name], len(arrays[name])
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{label_name} is {labels.dtype} of shape {list(labels.shape)}; expected integers of shape [{count}], one "
            f"for each row of {name}"
        )
    if (labels < 0).any():
        raise ValueError(f"{label_name} holds {labels.min()}; expected classes, counted from 0")
    return torch.from_numpy(labels.astype(np.int64))


def _classes(labels: list[Tensor | None]) -> int | None:
    """Return one more than the largest label; None where a set has no labels."""
    return None if any(of is None for of in labels) else 1 + max(int(of.max()) for of in labels if of is not None)


def _range(inputs: list[Tensor], names: tuple[str, ...]) -> tuple[Values, Callable[[Tensor], Tensor], list[str]]:
    """Return the range of the examples, the transform that makes them, and what should be said of it."""
    kinds = [str(of_set.dtype).removeprefix("torch.") for of_set in inputs]
    shapes = [list(of_set.shape[1:]) for of_set in inputs]
    if len(set(kinds)) > 1 or any(shape != shapes[0] for shape in shapes):
        found = ", ".join(f"{name} {kind} {shape}" for name, kind, shape in zip(names, kinds, shapes, strict=True))
        raise ValueError(f"the sets differ: {found}; expected one type and one shape of examples")
    if kinds[0] == "bool":
        return "binary", as_float, []
    if kinds[0] == "uint8":
        if all(_only(of_set, 0, 1) for of_set in inputs):
            return (
                "binary",
                as_float,
                ["The file's bytes are all 0 or 1: they are taken for bits, not for grey values."],
            )
        binary = all(_only(of_set, 0, 255) for of_set in inputs)
        return "binary" if binary else "unit_interval", partial(scale, maximum=255), []
    if all(_only(of_set, 0, 1) for of_set in inputs):
        return "binary", as_is, []
    inside = all(bool((of_set >= 0).all()) and bool((of_set <= 1).all()) for of_set in inputs)
    return "unit_interval" if inside else "real", as_is, []


def _only(inputs: Tensor, low: int, high: int) -> bool:
    return bool(((inputs == low) | (inputs == high)).all())


def _doubts(array: Array, name: str) -> list[str]:
    """Return a sentence for images that look as if their channels came last."""
    if array.ndim == 4 and array.shape[3] in (1, 3, 4) and array.shape[1] > 4:
        channels, height, width = array.shape[1:]
        return [
            f"{name} is taken for images of {channels} channels, {height} × {width}; write "
            f"{name}.transpose(0, 3, 1, 2) if its channels come last."
        ]
    return []
