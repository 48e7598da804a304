"""A part's constructor is its schema: its options, and whether a value fits one of them."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from torch import nn

from framework.divergence import Term
from framework.errors import PluginError, with_article
from framework.registry import registry_of
from framework.section import Section

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """One parameter of a constructor, as a recipe sees it.

    Args:
        name: what the recipe writes; a parameter that would be a Python keyword ends in an underscore and loses it
            here (`lambda_` is written `lambda`).
        parameter: the parameter's own name.
        annotation: its resolved annotation.
        default: its default, or `REQUIRED`.
    """

    name: str
    parameter: str
    annotation: Any
    default: Any


def options_of(factory: Callable[..., Any]) -> dict[str, Option]:
    """Return a constructor's options by name, context arguments included.

    Annotations are resolved here, when the part is first used, so that a plugin may write them as it likes.

    Raises:
        PluginError: a parameter has no annotation, takes `*args` or `**kwargs`, or its annotation cannot be resolved.
    """
    call: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    if call in (object.__init__, nn.Module.__init__):  # a class without a constructor has no options
        return {}
    found: dict[str, Option] = {}
    try:
        hints = typing.get_type_hints(call)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise PluginError(
            f"{_describe(factory)}: an annotation cannot be resolved ({error}). "
            "Import the name outside `if TYPE_CHECKING`, at the top of the module."
        ) from error
    for parameter in inspect.signature(factory).parameters.values():
        where = f"{_describe(factory)}, parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(f"{where}: a constructor is the recipe's schema; write its options out, one by one.")
        if parameter.name not in hints:
            raise PluginError(f"{where}: it has no annotation. Write one, for example `{parameter.name}: float`.")
        name = parameter.name.removesuffix("_")
        found[name] = Option(name, parameter.name, hints[parameter.name], parameter.default)
    return found


def check_annotation(annotation: Any) -> bool:
    """Return whether a recipe can express values of this annotation.

    Allowed are bool, int, float, str, Literal; lists, tuples and dicts of them; an abstraction, `abstraction | None`,
    dicts and lists of abstractions; `float | Schedule`; a section; and a function that returns a part, which is built
    later.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_section(annotation):
        return True
    if annotation in (bool, int, float, str, types.NoneType) or origin is Literal or registry_of(annotation):
        return True
    if not arguments:  # a bare `list` says nothing of its items
        return False
    if origin in (Union, types.UnionType):
        return all(check_annotation(argument) for argument in arguments)
    if origin is list:
        return check_annotation(arguments[0])
    if origin is tuple:
        return all(argument is Ellipsis or check_annotation(argument) for argument in arguments)
    if origin is dict:
        return arguments[0] is str and (arguments[1] is Term or check_annotation(arguments[1]))
    return deferred(annotation) is not None


def is_section(annotation: Any) -> bool:
    """Return whether values are maps with the options of one class, without a name."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def deferred(annotation: Any) -> Any:
    """Return X when the annotation is `Callable[[...], X]` and X is an abstraction: a part that is built later."""
    if get_origin(annotation) is not Callable or not get_args(annotation):
        return None
    returned = get_args(annotation)[1]
    returned = get_origin(returned) or returned  # a generic base: Wrapper[Any, Any, Any, Any] is a Wrapper
    return returned if registry_of(returned) else None


def is_deferred(annotation: Any) -> bool:
    """Return whether an option's parts, alone or in a list, are built later."""
    choices = [item for choice in alternatives(annotation) for item in (choice, *_items(choice))]
    return any(deferred(choice) is not None for choice in choices)


def _items(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is list else ()


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def fits(value: object, annotation: Any) -> bool:
    """Return whether a scalar is of a type: no bool is an int, an int is a float, and no float is NaN or infinite."""
    if get_origin(annotation) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if annotation is types.NoneType:
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation) if annotation in (bool, str) else False


def spelled(annotation: Any) -> str:
    """Return an annotation in the words of an error message or of `fw show`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    words = {
        bool: "true or false",
        int: "an integer",
        float: "a finite number",
        str: "a string",
        types.NoneType: "null",
    }
    if annotation in words:
        return words[annotation]
    if origin is Literal:
        return "one of " + ", ".join(written(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(spelled(argument) for argument in arguments)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return f"a list, each item {spelled(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(spelled(argument) for argument in arguments)}"
    if origin is dict:
        return f"a map from labels, each value {spelled(arguments[1])}"
    if annotation is Term:
        return "a divergence with its weight"
    if is_section(annotation):
        return f"a map of the {annotation.__name__.lower()}'s options"
    registry = registry_of(deferred(annotation) or annotation)
    return f"{with_article(registry.kind)} ({{name: …}})" if registry else str(annotation)


def written(value: object) -> str:
    """Return a plain value as a recipe writes it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe(factory: Callable[..., Any]) -> str:
    try:
        return f"{inspect.getsourcefile(factory)}: {factory.__qualname__}"
    except TypeError:
        return factory.__qualname__
