"""A constructor is a schema: which annotations it may have, and which values fit them."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

import pytest
from torch import nn

from framework import Decoder, Divergence, Encoder, Optimizer, PluginError, Prior, Schedule, Term
from framework.options import REQUIRED, Option, check_annotation, deferred, fits, options_of, spelled, written

if TYPE_CHECKING:
    from decimal import Decimal


def test_options_have_the_parameters_names_annotations_and_defaults() -> None:
    def part(*, width: int, scale: float = 2.0, kinds: list[str] | None = None) -> None: ...

    assert options_of(part) == {
        "width": Option("width", "width", int, REQUIRED),
        "scale": Option("scale", "scale", float, 2.0),
        "kinds": Option("kinds", "kinds", list[str] | None, None),
    }


def test_options_of_a_class_are_those_of_its_constructor() -> None:
    class Part(nn.Module):
        def __init__(self, *, width: int) -> None:
            super().__init__()

    assert list(options_of(Part)) == ["width"]


def test_a_class_without_a_constructor_has_no_options() -> None:
    assert options_of(type("Part", (nn.Module,), {})) == {}
    assert options_of(type("Plain", (), {})) == {}


def test_a_trailing_underscore_is_not_part_of_the_options_name() -> None:
    def part(*, lambda_: float, class_: str = "a") -> None: ...

    assert [(option.name, option.parameter) for option in options_of(part).values()] == [
        ("lambda", "lambda_"),
        ("class", "class_"),
    ]


def test_a_parameter_without_an_annotation_is_refused() -> None:
    def part(*, width=3): ...  # type: ignore[no-untyped-def]

    message = (
        r"test_options\.py: .*part, parameter 'width': it has no annotation\. Write one, for example `width: float`\."
    )
    with pytest.raises(PluginError, match=message):
        options_of(part)


def test_a_tunnel_is_refused() -> None:
    def keywords(**options: int) -> None: ...

    def positional(*options: int) -> None: ...

    for part in (keywords, positional):
        with pytest.raises(
            PluginError,
            match=r"parameter 'options': a constructor is the recipe's schema; write its options out, one by one\.",
        ):
            options_of(part)


def test_an_annotation_that_only_a_type_checker_can_see_is_refused_by_its_name() -> None:
    def part(*, width: Decimal) -> None: ...

    with pytest.raises(
        PluginError,
        match=r"part: an annotation cannot be resolved \(name 'Decimal' is not defined\)\. "
        r"Import the name outside `if TYPE_CHECKING`, at the top of the module\.",
    ):
        options_of(part)


@pytest.mark.parametrize("annotation", ["typing.Nothing", "int |", "int | 'x'"])
def test_an_annotation_that_is_nonsense_is_refused(annotation: str) -> None:
    def part(*, width: int) -> None: ...

    part.__annotations__["width"] = annotation
    with pytest.raises(PluginError, match="an annotation cannot be resolved"):
        options_of(part)


ALLOWED: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    str: "a string",
    Literal["a", 2]: "one of a, 2",
    int | None: "an integer or null",
    Optional[str]: "a string or null",  # noqa: UP045  (other people write it)
    list[int]: "a list, each item an integer",
    typing.List[int]: "a list, each item an integer",  # noqa: UP006
    list[list[float]]: "a list, each item a list, each item a finite number",
    tuple[float, ...]: "a list, each item a finite number",
    tuple[int, str]: "a list of 2: an integer, a string",
    dict[str, float]: "a map from labels, each value a finite number",
    dict[str, Term]: "a map from labels, each value a divergence with its weight",
    Encoder: "an encoder ({name: …})",
    Decoder | None: "a decoder ({name: …}) or null",
    list[Prior]: "a list, each item a prior ({name: …})",
    dict[str, Divergence]: "a map from labels, each value a divergence ({name: …})",
    float | Schedule: "a finite number or a schedule ({name: …})",
    float | Schedule | None: "a finite number or a schedule ({name: …}) or null",
    Callable[[Iterable[nn.Parameter]], Optimizer]: "an optimizer ({name: …})",
    Callable[..., Optimizer]: "an optimizer ({name: …})",
}
REFUSED = (
    object,
    Any,
    bytes,
    complex,
    Path,
    list,
    dict,
    tuple,
    typing.List,  # noqa: UP006
    typing.Dict,  # noqa: UP006
    typing.Tuple,  # noqa: UP006
    Callable,
    typing.Callable,
    Callable[[int], int],
    Callable[[], Term],
    list[Path],
    dict[int, str],
    dict[str, Any],
    set[int],
    Sequence[int],
    Iterable[nn.Parameter],
    int | Path,
    nn.Module,
    Term,
)


@pytest.mark.parametrize(("annotation", "words"), ALLOWED.items(), ids=str)
def test_what_a_recipe_can_express_is_allowed_and_has_words(annotation: Any, words: str) -> None:
    assert check_annotation(annotation)
    assert spelled(annotation) == words


@pytest.mark.parametrize("annotation", REFUSED, ids=str)
def test_what_a_recipe_cannot_express_is_refused(annotation: Any) -> None:
    assert not check_annotation(annotation)


def test_a_function_that_returns_a_part_is_that_part_built_later() -> None:
    assert deferred(Callable[[Iterable[nn.Parameter]], Optimizer]) is Optimizer
    assert deferred(Callable[[int], int]) is None
    assert deferred(Optimizer) is None


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (1.0, int, False),
        (True, int, False),
        ("1", int, False),
        (1, float, True),
        (1.5, float, True),
        (10**30, float, True),
        (True, float, False),
        (math.nan, float, False),
        (math.inf, float, False),
        (-math.inf, float, False),
        ("1.5", float, False),
        (True, bool, True),
        (1, bool, False),
        ("a", str, True),
        (1, str, False),
        (None, type(None), True),
        (None, str, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (1, Literal[1], True),
        (True, Literal[1], False),
        (1.0, Literal[1], False),
        ([1], list[int], False),
        ({}, Encoder, False),
    ],
)
def test_a_scalar_fits_its_own_type_and_no_other(value: object, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.001, "0.001"),
        (1, "1"),
        ("a", "a"),
        ((0.9, 0.999), "[0.9, 0.999]"),
        ([1, None], "[1, null]"),
        ({"a": {"b": False}}, "{a: {b: false}}"),
    ],
)
def test_values_are_written_as_recipes_write_them(value: object, text: str) -> None:
    assert written(value) == text
