"""The YAML of recipes: what words mean, where values are, writing it back. What is refused: test_broken_recipes.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.document import Node, dump_document, parse_document, parse_value, read_document, scalar, similar
from framework.errors import Mark, Problem, RecipeError, nearest


def value_of(text: str) -> Any:
    return parse_document(f"key: {text}\n", "r.yaml").plain()["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("1.0e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2.5", -2.5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("12345678901234567890", 12345678901234567890),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("e3", "e3"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("[1, a, [2.0]]", [1, "a", [2.0]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_a_word_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(value_of(".nan"))


def test_an_integer_too_long_to_be_one_does_not_take_for_ever() -> None:
    assert value_of("9" * 5_000) == math.inf


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("8", 8), ("true", True), ("010", "010"), ("mlp", "mlp")])
def test_a_scalar_is_what_its_text_would_mean_without_quotes(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_keys_are_strings_whatever_they_look_like() -> None:
    assert parse_document("1: a\ntrue: b\nnull: c\n", "r.yaml").plain() == {"1": "a", "true": "b", "null": "c"}


def test_every_value_knows_its_place_and_its_keys() -> None:
    root = parse_document("a: 1\nbc:\n  de: [x, 'yz']\n", "r.yaml")
    inner = root.value["bc"].value["de"]
    assert inner.key_mark == Mark("r.yaml", 3, 3, 2, "  de: [x, 'yz']")
    assert inner.value[1].mark == Mark("r.yaml", 3, 11, 4, "  de: [x, 'yz']")
    assert str(inner.value[1].mark) == "r.yaml:3:11"
    assert [path for path, _ in root.walk()] == [
        (),
        ("a",),
        ("bc",),
        ("bc", "de"),
        ("bc", "de", 0),
        ("bc", "de", 1),
    ]


def test_an_alias_stands_for_its_anchor() -> None:
    assert parse_document("a: &a [8, 8]\nb: *a\n", "r.yaml").plain() == {"a": [8, 8], "b": [8, 8]}


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: a\r\nseed: 1\r\n")
    root = read_document(file)
    assert root.plain() == {"name": "a", "seed": 1}
    assert root.value["seed"].mark.line == 2


def test_a_value_of_the_command_line_has_its_place_in_the_argument() -> None:
    argument = "encoder.hidden=[256, wide]"
    node = parse_value("[256, wide]", "command line", argument, 16)
    assert node.value[1].mark == Mark("command line", 1, 22, 4, argument)
    assert parse_value("", "command line", "name=", 6) == Node(None, Mark("command line", 1, 6, 1, "name="))


@pytest.mark.parametrize(
    "value",
    [
        "no", "yes", "on", "010", "0x10", "0o17", "1_000", "1:30", "1e3", "1e-3", "1.5", "null", "~", "", "true", "<<",
        "=", "2020-01-01", "nan", ".nan", "-", "a: b", "a #b", "'", "[", "é", "a\nb", " a ", "*a", "&a", "!a", "%a",
        1, -1, 0.001, 1e-8, 1e22, 0.1 + 0.2, True, None, [], {}, [1, [2.0, "3"]], {"a": {"b": ["no", None]}},
    ],
)  # fmt: skip
def test_what_is_written_is_read_as_the_same_by_us_and_by_readers_of_yaml_1_1(value: Any) -> None:
    text = dump_document({"key": value})
    for found in (parse_document(text, "r.yaml").plain()["key"], yaml.safe_load(text)["key"]):
        assert found == value
        assert type(found) is type(value)


def test_the_similar_recipe_is_the_one_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "vae_mnist.yaml").touch()
    (tmp_path / "notes.txt").touch()
    assert similar(tmp_path / "vae_minst.yaml") == str(tmp_path / "vae_mnist.yaml")
    assert similar(tmp_path / "notes.yaml") == ""
    assert similar(tmp_path / "nowhere" / "vae_mnist.yaml") == ""


def test_a_problem_shows_a_part_of_a_line_that_is_long() -> None:
    line = "a" * 500 + "wrong" + "b" * 500
    shown = str(Problem("not right", "key", mark=Mark("r.yaml", 3, 501, 5, line))).splitlines()
    assert shown[0] == "r.yaml:3:501: key: not right"
    assert shown[1] == "   3 | " + "a" * 60 + "wrong" + "b" * 55
    assert shown[2] == "     | " + " " * 60 + "^^^^^"


def test_a_problem_prints_no_tab_and_no_escape_sequence() -> None:
    report = str(Problem("not right", found="\x1b[2Jgone", mark=Mark("r.yaml", 1, 3, 1, "\ta\x1b[31m")))
    assert report == "r.yaml:1:3: not right\n   1 |  a [31m\n     |   ^\n       found:     [2Jgone"


def test_a_report_is_in_the_order_of_the_file_and_ends_with_the_remarks() -> None:
    second, first = (Problem(text, mark=Mark("r.yaml", line, 1, 1, "")) for text, line in (("second", 9), ("first", 2)))
    report = str(RecipeError([second, first], ["a remark"]))
    assert report == "r.yaml:2:1: first\n\nr.yaml:9:1: second\n\na remark\n\n2 problems found."


@pytest.mark.parametrize(
    ("name", "near"), [("bernouli", "bernoulli"), ("KL", "kl"), ("mdm", "mmd"), ("hiden", "hidden"), ("zzz", "")]
)
def test_the_nearest_name_is_found_and_a_far_one_is_not(name: str, near: str) -> None:
    assert nearest(name, ["bernoulli", "kl", "mmd", "hidden", "gaussian"]) == near
