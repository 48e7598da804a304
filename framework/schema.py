"""Does a recipe's tree fit the constructors of the parts that it names? Every misfit at once, each with its place."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import framework.baseline
import framework.data
import framework.decoder
import framework.divergence
import framework.encoder
import framework.learner
import framework.optimizer
import framework.policy
import framework.prior
import framework.schedule
import framework.trunk
import framework.update
import framework.wrapper
from framework.discovery import BrokenPlugin
from framework.divergence import Term, divergences
from framework.document import Node, scalar
from framework.errors import Mark, OptionError, PluginError, Problem, RecipeError, listed, nearest, with_article
from framework.options import (
    REQUIRED,
    Option,
    alternatives,
    check_annotation,
    deferred,
    fits,
    is_section,
    options_of,
    spelled,
    written,
)
from framework.recipe import COMMAND_LINE, read_recipe
from framework.registry import Entry, Registry, registry_of
from framework.section import Section
from framework.trainer import Trainer

RESERVED = ("name", "seed", "learner", "data", "trainer", "extends")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_BAD: Any = object()  # stands for a value whose problem is reported already


@dataclass(frozen=True)
class Part:
    """A part as a recipe specifies it, checked against its constructor and not built yet.

    Args:
        entry: what is to be built.
        options: by option name: plain values, parts, lists and maps of them, and `Weighted` parts. Defaults are filled
            in; what is missing is context.
        path: where it stands in the recipe, dotted.
    """

    entry: Entry
    options: dict[str, Any]
    path: str


@dataclass(frozen=True)
class Weighted:
    """A divergence in a recipe's `divergences`, with the weight that stands beside its own options."""

    part: Part
    weight: Any  # float, or the Part of a schedule


@dataclass(frozen=True)
class Recipe:
    """A recipe that is right as far as can be told without building it.

    Args:
        name: the folder of its runs.
        seed: what every random draw is a function of.
        learner: the learner and, inside it, all parts but the data.
        data: the data set; None where the learner takes no examples.
        trainer: for how long, where.
        root: the tree that it was read from, for the places of later problems.
    """

    name: str
    seed: int
    learner: Part
    data: Part | None
    trainer: Part
    root: Node = field(repr=False)

    def plain(self) -> dict[str, Any]:
        """Return the resolved recipe, defaults included, as plain containers: reading it again gives this recipe."""
        return {
            "name": self.name,
            "seed": self.seed,
            "learner": self.learner.entry.name,
            **({"data": _plain(self.data)} if self.data is not None else {}),
            **{name: _plain(value) for name, value in self.learner.options.items()},
            "trainer": _plain(self.trainer),
        }

    def refused(self, error: OptionError, path: str = "") -> Problem:
        """Return the problem of a value that a constructor refuses; `path` where it is not the option's own."""
        where = path or error.option
        return Problem("this value is refused", where, str(error.found), error.expected, error.write, self.mark(where))

    def mark(self, path: str) -> Mark | None:
        """Return the place of a dotted path, or of the nearest part above it."""
        node, mark = self.root, None
        for key in path.split(".") if path else []:
            if not isinstance(node.value, dict) or key not in node.value:
                break
            node = node.value[key]
            mark = node.mark if not isinstance(node.value, dict | list) else node.key_mark or node.mark
        return mark


def load_recipe(path: Path, overrides: Sequence[str] = (), broken: Iterable[BrokenPlugin] = ()) -> Recipe:
    """Read a recipe and check it against the registered parts.

    Args:
        path: the YAML file.
        overrides: `key.path=value`.
        broken: the plugins that could not be loaded, named beside a name that is not found.

    Raises:
        RecipeError: everything that is wrong.
    """
    return _Checker(list(broken)).recipe(read_recipe(path, overrides), path)


@dataclass
class _Checker:
    broken: list[BrokenPlugin]
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    misspelt: set[str] = field(default_factory=set)  # keys of the recipe that are reported already

    def recipe(self, root: Node, path: Path) -> Recipe:
        fields: dict[str, Node] = root.value
        name = self._name(fields.get("name"), path, root)
        seed = self._value(fields["seed"], int, "seed") if "seed" in fields else 0
        if isinstance(seed, int) and seed < 0:
            self._problem("seed", "a seed is 0 or more", fields["seed"], found=str(seed))
        data = self._data(fields, root)
        trainer = self._required(fields, "trainer", root, lambda node: self._section(node, Trainer, "trainer"))
        learner = self._required(fields, "learner", root, lambda node: self._learner(node, root))
        if self.problems:
            raise RecipeError(self.problems, self.remarks)
        return Recipe(name, seed, learner, data, trainer, root)

    def _name(self, node: Node | None, path: Path, root: Node) -> str:
        name: str = path.stem if node is None else self._value(node, str, "name")
        if name is not _BAD and not _FOLDER_NAME.fullmatch(name):
            expected = "letters, digits, . _ -, the first a letter or a digit"
            self._problem("name", "a recipe's name is also a folder's", node or root, found=name, expected=expected)
        return name

    def _required(self, fields: dict[str, Node], key: str, root: Node, check: Callable[[Node], Any]) -> Any:
        if key in fields:
            return check(fields[key])
        similar = nearest(key, [other for other in fields if other not in RESERVED])
        place = fields[similar].key_mark if similar else root.mark
        self.misspelt.add(similar)
        self.problems.append(
            Problem(f"the recipe has no {key!r}", "", similar, f"{key}: …", key if similar else "", place)
        )
        return _BAD

    def _data(self, fields: dict[str, Node], root: Node) -> Any:
        """Check the data set, which a learner has exactly when its constructor asks for facts of the data."""
        named = fields["learner"].value if "learner" in fields else None
        known = framework.learner.learners
        if not isinstance(named, str) or named not in known or "facts" in options_of(known[named].factory):
            return self._required(fields, "data", root, lambda node: self._part(node, framework.data.data, "data"))
        if "data" in fields:
            message, found = f"learner {named!r} takes no data", _shown(fields["data"])
            self._problem("data", message, fields["data"], found=found, expected="no such key")
        return None

    def _section(self, node: Node, section: type[Section], path: str) -> Any:
        """Check a part that has no name: there is one of its kind."""
        if not isinstance(node.value, dict):
            message, expected = f"{_kind(node.value)} does not fit", "a map of its options, {…}"
            self._problem(path, message, node, found=_shown(node), expected=expected)
            return _BAD
        entry = Entry(section.__name__.lower(), "", section, "", 0)
        return self._options_of_part(node, entry, path, context=(), taken=())

    def _learner(self, node: Node, root: Node) -> Any:
        entry = self._entry(node, framework.learner.learners, "learner")
        if entry is None:
            return _BAD
        own = {key: value for key, value in root.value.items() if key not in (*RESERVED, *self.misspelt)}
        whole = Node(own, root.mark)
        return self._options_of_part(whole, entry, "", context=framework.learner.learners.context, taken=RESERVED)

    def _entry(self, node: Node, registry: Registry[Any], path: str, *, besides: str = "") -> Entry | None:
        """Return what a name stands for, or report that it stands for nothing; `besides` is what else may be there."""
        if not isinstance(node.value, str):
            message = f"the name of {with_article(registry.kind)} is a string"
            self._problem(path, message, node, found=_shown(node), expected=listed(registry.names()))
            return None
        if node.value in registry:
            return registry[node.value]
        similar = nearest(node.value, registry.names())
        self.remarks = [str(plugin) for plugin in self.broken]  # one of them may have meant to register the name
        self._problem(
            path,
            f"there is no {registry.kind} {node.value!r}",
            node,
            found=node.value,
            expected=besides + listed(registry.names()),
            write=similar,
        )
        return None

    def _part(
        self,
        node: Node,
        registry: Registry[Any],
        path: str,
        *,
        label: str = "",
        taken: tuple[str, ...] = (),
        besides: str = "",
    ) -> Any:
        """Check a part: its name (or the label that it stands under), then its options."""
        kind = with_article(registry.kind)
        if isinstance(node.value, str):  # a part without options may be written as its name
            entry = self._entry(node, registry, path, besides=besides)
            node = Node({}, node.mark, node.key_mark)
        elif not isinstance(node.value, dict):
            expected = f"the name of {kind}, or {{name: …}} with its options"
            self._problem(path, f"{kind} is a map", node, found=_shown(node), expected=expected)
            return _BAD
        elif "name" in node.value:
            entry = self._entry(node.value["name"], registry, f"{path}.name")
        elif label:
            entry = self._entry(Node(label, node.key_mark or node.mark, text=label), registry, path)
        else:
            self._problem(path, f"{kind} has a name", node, found="no name", expected=listed(registry.names()))
            return _BAD
        if entry is None:
            return _BAD
        return self._options_of_part(node, entry, path, context=registry.context, taken=("name", *taken))

    def _options_of_part(
        self, node: Node, entry: Entry, path: str, *, context: tuple[str, ...], taken: tuple[str, ...]
    ) -> Any:
        before = len(self.problems)
        owner = f"{entry.kind} {entry.name!r}" if entry.name else entry.kind
        try:
            options = _recipe_options(entry, context, taken)
        except PluginError as error:
            self._problem(path, str(error), node)
            return _BAD
        known = [*options, *taken]
        misspelt = set()
        for key, child in node.value.items():
            if key not in known:
                message = f"{owner} has no option {key!r}"
                if not path:
                    message = f"neither the recipe nor {owner} has a key {key!r}"
                similar = nearest(key, known)
                misspelt.add(similar)
                self.problems.append(Problem(message, _join(path, key), key, listed(known), similar, child.key_mark))
        values: dict[str, Any] = {}
        for name, option in options.items():
            if name in node.value:
                values[name] = self._value(node.value[name], option.annotation, _join(path, name))
            elif (section := _section_without_needs(option)) is not None:
                values[name] = self._section(Node({}, node.mark), section, _join(path, name))
            elif option.default is not REQUIRED and name not in context:
                values[name] = option.default
            elif name not in context and name not in misspelt:
                self._problem(
                    path, f"{owner} needs the option {name!r}", node, expected=f"{name}: {spelled(option.annotation)}"
                )
        return _BAD if len(self.problems) > before else Part(entry, values, path)

    def _value(self, node: Node, annotation: Any, path: str) -> Any:
        for choice in alternatives(annotation):
            if fits(node.value, choice):
                return float(node.value) if choice is float else node.value
        if node.mark.source == COMMAND_LINE and str in alternatives(annotation) and isinstance(node.value, int | float):
            return node.text  # a command line has no quotes: the field says that it is a string
        choices = alternatives(annotation)
        for choice in choices:
            if is_section(choice) and isinstance(node.value, dict):
                return self._section(node, choice, path)
            registry = registry_of(deferred(choice) or choice)
            if registry is not None and isinstance(node.value, dict | str) and not _quoted(node, annotation):
                besides = "".join(f"{spelled(other)}, or " for other in choices if other is not choice)
                return self._part(node, registry, path, besides=besides)
            origin, arguments = get_origin(choice), get_args(choice)
            if origin is dict and isinstance(node.value, dict):
                return self._map(node, arguments[1], path)
            if origin in (list, tuple) and isinstance(node.value, list):
                return self._sequence(node, choice, path)
        self._misfit(node, annotation, path)
        return _BAD

    def _map(self, node: Node, annotation: Any, path: str) -> dict[str, Any]:
        registry = divergences if annotation is Term else registry_of(annotation)
        found = {}
        for label, child in node.value.items():
            where = _join(path, label)
            if child.value is None and types.NoneType not in alternatives(annotation):
                continue  # a label that `extends` brought in is taken out by null
            if not _LABEL.fullmatch(label):
                expected = "letters, digits, _ -, the first a letter: it names a metric"
                self.problems.append(Problem("this label is refused", where, label, expected, mark=child.key_mark))
            elif annotation is Term:
                found[label] = self._weighted(child, label, where)
            elif registry is not None:
                found[label] = self._part(child, registry, where, label=label)
            else:
                found[label] = self._value(child, annotation, where)
        return found

    def _weighted(self, node: Node, label: str, path: str) -> Any:
        if isinstance(node.value, int | float):
            write = f"{label}: {{weight: {node.text}}}"
            self._problem(path, "a divergence is a map", node, found=node.text, expected="its options", write=write)
            return _BAD
        part = self._part(node, divergences, path, label=label, taken=("weight",))
        weight: Any = 1.0
        if isinstance(node.value, dict) and "weight" in node.value:
            weight = self._value(node.value["weight"], float | framework.schedule.Schedule, _join(path, "weight"))
        return Weighted(part, weight)

    def _sequence(self, node: Node, annotation: Any, path: str) -> Any:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is tuple and arguments[-1] is not Ellipsis:
            if len(node.value) != len(arguments):
                self._misfit(node, annotation, path)
                return _BAD
            kinds = list(arguments)
        else:
            kinds = [arguments[0]] * len(node.value)
        items = [
            self._value(child, kind, f"{path}[{position}]")
            for position, (child, kind) in enumerate(zip(node.value, kinds, strict=True))
        ]
        return origin(items)

    def _misfit(self, node: Node, annotation: Any, path: str) -> None:
        words = [choice for one in alternatives(annotation) for choice in get_args(one) if isinstance(choice, str)]
        write = ""
        if isinstance(node.value, str):
            write = f"{node.value}, without quotes" if _quoted(node, annotation) else nearest(node.value, words)
        message = f"{_kind(node.value)} does not fit"
        self._problem(path, message, node, found=_shown(node), expected=spelled(annotation), write=write)

    def _problem(
        self, path: str, message: str, node: Node, *, found: str = "", expected: str = "", write: str = ""
    ) -> None:
        mark = node.mark
        if isinstance(node.value, dict | list) and node.key_mark is not None:
            mark = node.key_mark
        self.problems.append(Problem(message, path, found, expected, write, mark))


def _recipe_options(entry: Entry, context: tuple[str, ...], taken: tuple[str, ...]) -> dict[str, Option]:
    """Return the options that a recipe can set: not a context argument that it cannot express.

    Raises:
        PluginError: a parameter is called what the recipe itself puts beside the options, or has no such annotation.
    """
    found = {}
    for name, option in options_of(entry.factory).items():
        where = f"{entry.place}: {entry.kind} {entry.name!r}: the parameter {option.parameter!r}"
        if name in taken:
            raise PluginError(f"{where} has a name that recipes keep for themselves: {', '.join(taken)}. Rename it.")
        if check_annotation(option.annotation):
            found[name] = option
        elif name not in context:
            raise PluginError(
                f"{where} is annotated {option.annotation}, which a recipe cannot express. Allowed are bool, int, "
                "float, str, Literal, lists, tuples and dicts of them, parts, and float | Schedule; "
                f"supplied by the builder are {', '.join(context) or 'no arguments'}."
            )
    return found


def _section_without_needs(option: Option) -> type[Section] | None:
    """Return the section that an option without a default means when a recipe leaves it out."""
    if option.default is not REQUIRED:
        return None
    sections = [choice for choice in alternatives(option.annotation) if is_section(choice)]
    filled = [one for one in sections if all(each.default is not REQUIRED for each in options_of(one).values())]
    return filled[0] if filled else None


def _quoted(node: Node, annotation: Any) -> bool:
    """Return whether a string would fit if it stood there without quotes."""
    if not isinstance(node.value, str):
        return False
    meant = scalar(node.value)
    return not isinstance(meant, str) and any(fits(meant, choice) for choice in alternatives(annotation))


def _plain(value: Any) -> Any:
    if isinstance(value, Weighted):
        return {**_plain(value.part), "weight": _plain(value.weight)}
    if isinstance(value, Part):
        named = {"name": value.entry.name} if value.entry.name else {}
        return {**named, **{name: _plain(option) for name, option in value.options.items()}}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kind(value: object) -> str:
    names = {dict: "a map", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(node: Node) -> str:
    if isinstance(node.value, str):
        return repr(node.value)
    return node.text or written(node.plain())
