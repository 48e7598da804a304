"""The state of Python objects, whatever they hold, in plain containers and tensors: without pickle, so nothing runs."""

from __future__ import annotations

import collections
import enum
import functools
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv
from torch import Tensor

# What two environments of one recipe have in common: it is not written down, and left as it is.
_COMMON = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    types.GenericAlias,
    functools.partial,
    np.dtype,
    np.ufunc,
    range,
    slice,
    EnvSpec,
)
# By gymnasium's convention constant: what a class says of itself, and the table of transitions of a finite process,
# which for Taxi would be four fifths of a megabyte in each environment.
_CONSTANT = ("metadata", "_metadata", "P")
# The state of these packages' objects is not in their attributes.
_OUTSIDE = ("multiprocessing", "subprocess", "threading", "socket", "_thread", "_io", "ctypes", "pygame")
_CONTAINERS: dict[str, type] = {"list": list, "deque": collections.deque, "set": set, "dict": dict}
_BITS = {kind.__name__: kind for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937,
                                          np.random.Philox, np.random.SFC64)}  # fmt: skip
_SOURCES: dict[str, Callable[[], Any]] = {
    "RandomState": np.random.RandomState,
    "Random": random.Random,
    "Generator of torch": torch.Generator,
    **{
        f"Generator of {name}": functools.partial(lambda kind: np.random.Generator(kind(0)), _BITS[name])
        for name in _BITS
    },
}
_LARGE = 2**63  # integers from here on are written as strings


class NotCapturable(Exception):
    """An object holds something whose state cannot be written down, or put back; the message says where."""


class Writer:
    """Writes down objects. An object that is met again is written as the same one.

    Raises:
        NotCapturable: an object's state is out of reach.
    """

    def __init__(self) -> None:
        # By identity: the number, and the object itself, so that it is not freed and its identity given away.
        self._seen: dict[int, tuple[int, object]] = {}

    def write(self, value: Any, where: str) -> Any:
        """Return an object's state.

        Args:
            value: the object.
            where: what to call it in an error, "CartPoleEnv.state".
        """
        kind = type(value)
        if value is None or kind in (bool, float, str):
            return value
        if kind is int:
            return value if -_LARGE <= value < _LARGE else {"is": "integer", "digits": str(value)}
        if isinstance(value, _COMMON) or _is_spent(value):
            return {"is": "common"}
        if isinstance(value, enum.Enum):
            return {"is": "member", "name": value.name}
        if isinstance(value, np.generic):
            return {"is": "number", **_bytes_of(np.asarray(value), where)}
        if isinstance(value, tuple | frozenset):
            name = "tuple" if isinstance(value, tuple) else "frozenset"
            return {"is": name, "items": self._items(value, where)}
        if id(value) in self._seen:
            return {"is": "same", "as": self._seen[id(value)][0]}
        self._seen[id(value)] = (len(self._seen), value)
        return {"object": self._seen[id(value)][0], **self._changeable(value, where)}

    def _changeable(self, value: Any, where: str) -> dict[str, Any]:
        if isinstance(value, dict):
            pairs = [[self.write(key, where), self.write(item, f"{where}[{key!r}]")] for key, item in value.items()]
            return {"is": "dict", "items": pairs}
        for name, container in _CONTAINERS.items():
            if isinstance(value, container):
                return {"is": name, "items": self._items(value, where)}
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                return {"is": "objects", "shape": list(value.shape), "items": self._items(value.flat, where)}
            return {"is": "array", **_bytes_of(value, where)}
        if isinstance(value, Tensor):
            return {"is": "tensor", "value": value.detach().clone()}
        source = _source_of(value)
        if source in _SOURCES:
            return {"is": source, "state": self.write(_source_state(value), where)}
        names = _attributes(value, where)
        return {"is": "attributes", "of": {name: self.write(getattr(value, name), f"{where}.{name}") for name in names}}

    def _items(self, items: Any, where: str) -> list[Any]:
        return [self.write(item, f"{where}[{place}]") for place, item in enumerate(items)]


class Reader:
    """Brings objects to a state that a `Writer` wrote: in place where they are of the same kind, so that whoever holds
    them sees it; what is missing is made, except for objects of a class of their own.

    Raises:
        NotCapturable: the objects are not made as the written ones were.
    """

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}  # by the number of the written object
        self._taken: set[int] = set()  # identities of the objects that stand for a written one already

    def read(self, state: Any, here: Any, where: str) -> Any:
        """Return the object of a state.

        Args:
            state: as from `Writer.write`.
            here: what stands in its place; changed and returned, or replaced.
            where: what to call it in an error.
        """
        if not isinstance(state, dict):
            return state
        kind = state["is"]
        if kind == "common":
            return here
        if kind == "integer":
            return int(state["digits"])
        if kind == "member":
            _expect(isinstance(here, enum.Enum), where, "a member of an enumeration", here)
            return type(here)[state["name"]]
        if kind == "number":
            return _array_of(state)[()]
        if kind == "frozenset":
            return frozenset(self._items(state["items"], (), where))
        if kind == "tuple":
            old = here if isinstance(here, tuple) else ()
            items = self._items(state["items"], old, where)
            return tuple(items) if type(old) is tuple else type(old)(*items)  # one with names takes them one by one
        if kind == "same":
            return self._made[state["as"]]
        # One object may stand in two places where there were two.
        value = self._started(state, None if id(here) in self._taken else here, where)
        self._made[state["object"]] = value
        self._taken.add(id(value))
        self._fill(state, value, where)
        return value

    def _started(self, state: dict[str, Any], here: Any, where: str) -> Any:
        """Return the object that will stand for a written one, before what it holds is read: it may hold itself."""
        kind = state["is"]
        if kind in _CONTAINERS:
            return here if isinstance(here, _CONTAINERS[kind]) else _CONTAINERS[kind]()
        if kind in _SOURCES:
            return here if _source_of(here) == kind else _SOURCES[kind]()
        if kind == "tensor":
            return state["value"].clone()
        if kind in ("array", "objects"):
            array = _array_of(state) if kind == "array" else np.empty(state["shape"], dtype=object)
            if not isinstance(here, np.ndarray) or (here.shape, here.dtype) != (array.shape, array.dtype):
                return array
            if not here.flags.writeable:
                return array
            if kind == "array":
                here[...] = array
            return here
        _expect(here is not None, where, "an object, as there was", here)
        return here

    def _fill(self, state: dict[str, Any], value: Any, where: str) -> None:
        kind = state["is"]
        if kind in ("list", "deque"):
            items = self._items(state["items"], list(value), where)
            value.clear()
            value.extend(items)
        elif kind == "set":
            items = self._items(state["items"], (), where)
            value.clear()
            value.update(items)
        elif kind == "dict":
            old = dict(value)
            pairs = [(self.read(key, None, where), item) for key, item in state["items"]]
            found = {key: self.read(item, old.get(key), f"{where}[{key!r}]") for key, item in pairs}
            value.clear()
            value.update(found)
        elif kind == "objects":
            for place, item in enumerate(self._items(state["items"], list(value.flat), where)):
                value.flat[place] = item
        elif kind in _SOURCES:
            _set_source(value, self.read(state["state"], None, where))
        elif kind == "attributes":
            self._fill_attributes(state["of"], value, where)

    def _fill_attributes(self, attributes: dict[str, Any], value: Any, where: str) -> None:
        present = set(_attributes(value, where))
        for name in present - set(attributes):
            object.__delattr__(value, name)
        for name, state in attributes.items():
            place = f"{where}.{name}"
            if state == {"is": "common"}:
                _expect(name in present, place, "what was there", None)
            else:
                old = getattr(value, name) if name in present else None
                new = self.read(state, old, place)
                try:
                    object.__setattr__(value, name, new)
                except (AttributeError, TypeError) as error:
                    raise NotCapturable(f"{place}: it cannot be put back ({error})") from error

    def _items(self, items: list[Any], here: Any, where: str) -> list[Any]:
        old = [*here, *[None] * len(items)]
        return [self.read(item, old[place], f"{where}[{place}]") for place, item in enumerate(items)]


def _source_of(value: Any) -> str:
    """Return which source of random numbers an object is, or what is none."""
    if isinstance(value, np.random.Generator):
        return f"Generator of {type(value.bit_generator).__name__}"
    return "Generator of torch" if isinstance(value, torch.Generator) else type(value).__name__


def _source_state(value: Any) -> Any:
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    return value.getstate() if isinstance(value, random.Random) else value.get_state()


def _set_source(value: Any, state: Any) -> None:
    if isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, random.Random):
        value.setstate(state)
    else:
        value.set_state(state)


def _attributes(value: Any, where: str) -> list[str]:
    """Return the names of an object's attributes that are not constant.

    Raises:
        NotCapturable: its state is not in its attributes.
    """
    kind: Any = type(value)
    package = getattr(kind, "__module__", "").split(".")[0]  # types made in C may have none
    if package in _OUTSIDE or isinstance(value, AsyncVectorEnv) or not hasattr(value, "__dict__"):
        raise NotCapturable(f"{where}: the state of a {kind.__name__} is out of reach")
    names = [name for name in [*vars(value), *_slots(kind)] if name not in _CONSTANT and hasattr(value, name)]
    if isinstance(value, gymnasium.Space):  # bounds, each as large as an observation, and constant
        names = [name for name in names if not isinstance(getattr(value, name), np.ndarray)]
    return names


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield name


def _is_spent(value: object) -> bool:
    """Return whether it is what a generator expression leaves behind; gymnasium keeps one."""
    return isinstance(value, types.GeneratorType) and value.gi_frame is None


def _bytes_of(array: np.ndarray[Any, Any], where: str) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise NotCapturable(f"{where}: the fields of an array of {array.dtype} hold objects")
    data = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else None
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": data}


def _array_of(state: dict[str, Any]) -> np.ndarray[Any, Any]:
    array = np.zeros(state["shape"], dtype=np.dtype(state["dtype"]))
    if array.size:
        array = np.frombuffer(state["bytes"].numpy().tobytes(), dtype=array.dtype).reshape(array.shape).copy()
    return array


def _expect(is_so: bool, where: str, expected: str, found: object) -> None:
    if not is_so:
        raise NotCapturable(
            f"{where}: expected {expected}, found {found!r}; it is made otherwise than what was captured"
        )
