"""One registry for each kind of part: a name in a recipe, the constructor it stands for, and where that is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from framework.errors import PluginError, with_article

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered part.

    Args:
        kind: the registry's kind, "divergence".
        name: what recipes write.
        factory: the class, or the function, that makes the part.
        file: the source file it is defined in.
        line: the line of its definition, from 1.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class Registry(Generic[T]):
    """The parts of one kind, by name.

    Args:
        kind: what the recipe and the messages call it: "encoder".
        bases: the classes that a registered class derives from, or that a registered function returns. A constructor
            whose parameter is annotated with the first of them takes a part of this kind.
        context: the arguments that the builder supplies to a constructor that has a parameter of that name.
    """

    def __init__(self, kind: str, *bases: type, context: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.bases = bases
        self.context = context
        self._entries: dict[str, Entry] = {}
        _registries[kind] = self

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Return a decorator that registers a class or a function under `name`.

        Raises:
            PluginError: the name is taken (both places are named), or a class derives from none of the bases.
        """

        def decorate(factory: Factory) -> Factory:
            entry = Entry(self.kind, name, factory, *_source(factory))
            if isinstance(factory, type) and not issubclass(factory, self.bases):
                raise PluginError(
                    f"{entry.place}: {factory.__name__} is registered as {with_article(self.kind)} and is not one. "
                    f"Expected a subclass of {' or '.join(base.__name__ for base in self.bases)}."
                )
            taken = self._entries.get(name)
            if taken is not None and not _same_definition(taken, entry):
                raise PluginError(
                    f"two {self.kind}s are called {name!r}: one at {taken.place}, one at {entry.place}. "
                    "Rename one of them."
                )
            self._entries[name] = entry
            return factory

        return decorate

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries in the order of their names."""
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def names(self) -> list[str]:
        return sorted(self._entries)

    def name_of(self, part: object) -> str:
        """Return the name under which a part's class is registered, or the class's own name when it is not."""
        for entry in self._entries.values():
            if entry.factory is type(part):
                return entry.name
        return type(part).__name__


_registries: dict[str, Registry[Any]] = {}


def registries() -> dict[str, Registry[Any]]:
    """Return every registry by its kind, in the order in which they were defined."""
    return dict(_registries)


def registry_of(annotation: object) -> Registry[Any] | None:
    """Return the registry whose parts a parameter with this annotation takes, or None."""
    for registry in _registries.values():
        if annotation is registry.bases[0]:
            return registry
    return None


def _source(factory: Callable[..., Any]) -> tuple[str, int]:
    target: Any = inspect.unwrap(factory)
    try:
        return inspect.getsourcefile(target) or "<unknown>", inspect.getsourcelines(target)[1]
    except (OSError, TypeError):  # defined at a prompt: there is no file to point at
        return f"<{target.__module__}>", 0


def _same_definition(one: Entry, other: Entry) -> bool:
    """A module that is loaded again defines its parts again; that is no clash."""
    return (one.file, one.factory.__qualname__) == (other.file, other.factory.__qualname__) and one.line > 0
