"""Recipes as text: what they extend, overrides, interpolation. What is refused: test_broken_recipes.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework.document import parse_document
from framework.errors import RecipeError
from framework.recipe import merge, read_recipe

BASE = """\
name: base
learner: latent
encoder: {name: mlp, hidden: [512, 256], activation: elu}
prior: standard_normal
divergences:
  kl: {weight: 1.0}
  mmd: {weight: 2.0, kernel: rbf}
optimizer: {name: adam, lr: 0.01}
trainer: {max_epochs: 20}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def read(text: str = "extends: base.yaml\n", *overrides: str) -> dict[str, Any]:
    Path("recipe.yaml").write_text(text)
    plain: dict[str, Any] = read_recipe(Path("recipe.yaml"), overrides).plain()
    return plain


def test_a_recipe_without_bases_is_what_it_says() -> None:
    assert read("a: 1\nb: [2]\n") == {"a": 1, "b": [2]}


def test_maps_merge_and_what_extends_says_is_gone() -> None:
    recipe = read("extends: base.yaml\ndivergences:\n  mmd: {weight: 3.0}\nseed: 1\n")
    assert recipe["divergences"] == {"kl": {"weight": 1.0}, "mmd": {"weight": 3.0, "kernel": "rbf"}}
    assert recipe["trainer"] == {"max_epochs": 20}
    assert recipe["seed"] == 1
    assert "extends" not in recipe


def test_lists_are_replaced() -> None:
    assert read("extends: base.yaml\nencoder: {hidden: [8]}\n")["encoder"] == {
        "name": "mlp",
        "hidden": [8],
        "activation": "elu",
    }


def test_a_new_name_drops_the_options_that_were_the_old_parts() -> None:
    assert read("extends: base.yaml\nencoder: {name: conv}\n")["encoder"] == {"name": "conv"}


def test_the_same_name_keeps_them() -> None:
    assert read("extends: base.yaml\noptimizer: {name: adam, eps: 0.1}\n")["optimizer"] == {
        "name": "adam",
        "lr": 0.01,
        "eps": 0.1,
    }


def test_a_new_name_of_the_recipe_drops_nothing() -> None:
    assert read("extends: base.yaml\nname: other\n") == {**read(), "name": "other"}


@pytest.mark.parametrize("name", ["", "name: fragment\n"])
def test_a_base_may_be_a_fragment(name: str) -> None:
    Path("fragment.yaml").write_text(f"{name}trainer: {{max_epochs: 3}}\n")
    assert read("extends: fragment.yaml\nname: whole\nlearner: latent\n") == {
        "name": "whole",
        "trainer": {"max_epochs": 3},
        "learner": "latent",
    }


def test_options_without_a_name_are_kept_for_the_name_that_comes_later() -> None:
    Path("slow.yaml").write_text("optimizer: {lr: 0.0001}\n")
    assert read("extends: slow.yaml\noptimizer: {name: sgd}\n")["optimizer"] == {"name": "sgd", "lr": 0.0001}


def test_options_may_be_added_to_a_part_that_is_written_as_its_name() -> None:
    assert read("extends: base.yaml\nprior: {spread: 2.0}\n")["prior"] == {"name": "standard_normal", "spread": 2.0}


def test_null_replaces_a_label() -> None:
    assert read("extends: base.yaml\ndivergences: {kl: null}\n")["divergences"] == {
        "kl": None,
        "mmd": {"weight": 2.0, "kernel": "rbf"},
    }


def test_of_several_bases_the_later_wins_and_the_recipe_over_all() -> None:
    Path("one.yaml").write_text("a: {x: 1, y: 1, z: 1}\n")
    Path("two.yaml").write_text("a: {y: 2, z: 2}\n")
    assert read("extends: [one.yaml, two.yaml]\na: {z: 3}\n") == {"a": {"x": 1, "y": 2, "z": 3}}


def test_a_base_may_have_a_base_and_its_path_is_from_its_own_folder() -> None:
    Path("parts").mkdir()
    Path("parts/middle.yaml").write_text("extends: ../base.yaml\nname: middle\n")
    assert read("extends: parts/middle.yaml\n") == {**read(), "name": "middle"}


def test_two_bases_may_have_the_same_base() -> None:
    Path("one.yaml").write_text("extends: base.yaml\none: 1\n")
    Path("two.yaml").write_text("extends: base.yaml\ntwo: 2\n")
    assert read("extends: [one.yaml, two.yaml]\n") == {**read(), "one": 1, "two": 2}


def test_merging_changes_neither_tree() -> None:
    base, top = parse_document("a: {x: 1}\n", "base"), parse_document("a: {y: 2}\n", "top")
    assert merge(base, top).plain() == {"a": {"x": 1, "y": 2}}
    assert (base.plain(), top.plain()) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_a_value_keeps_the_place_of_the_file_that_it_is_from() -> None:
    Path("recipe.yaml").write_text("extends: base.yaml\nencoder: {activation: relu}\n")
    encoder = read_recipe(Path("recipe.yaml"), ["encoder.hidden=[8]"]).value["encoder"]
    assert str(encoder.value["name"].mark) == "base.yaml:3:17"
    assert str(encoder.value["activation"].mark) == "recipe.yaml:2:23"
    assert str(encoder.value["hidden"].mark) == "command line:1:16"
    assert str(encoder.key_mark) == "recipe.yaml:2:1", "an override changes what is in a map, not where the map is"


def test_overrides_set_change_and_add_values() -> None:
    recipe = read("extends: base.yaml\n", "trainer.max_epochs=3", "encoder.hidden=[8, 4]", "seed=7", "data.path=a.npz")
    assert recipe["trainer"] == {"max_epochs": 3}
    assert recipe["encoder"]["hidden"] == [8, 4]
    assert (recipe["seed"], recipe["data"]) == (7, {"path": "a.npz"})


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("x=1e-3", 0.001),
        ("x=no", "no"),
        ("x=null", None),
        ("x=", None),
        ("x=a=b", "a=b"),
        ("x='1'", "1"),
        ("x={a: 1}", {"a": 1}),
        ("x='a # b'", "a # b"),
    ],
)
def test_the_value_of_an_override_is_yaml(override: str, value: Any) -> None:
    assert read("extends: base.yaml\n", override)["x"] == value


def test_of_two_overrides_of_one_key_the_later_wins() -> None:
    assert read("extends: base.yaml\n", "seed=1", "seed=2")["seed"] == 2


@pytest.mark.parametrize(
    "overrides", [("optimizer.name=sgd", "optimizer.momentum=0.9"), ("optimizer.momentum=0.9", "optimizer.name=sgd")]
)
def test_overrides_of_a_name_and_of_its_options_work_in_either_order(overrides: tuple[str, str]) -> None:
    assert read("extends: base.yaml\n", *overrides)["optimizer"] == {"name": "sgd", "momentum": 0.9}


def test_an_override_reaches_into_a_part_that_is_written_as_its_name() -> None:
    assert read("extends: base.yaml\n", "prior.spread=2.0")["prior"] == {"name": "standard_normal", "spread": 2.0}
    assert read("extends: base.yaml\n", "prior=gaussian_mixture", "prior.components=3")["prior"] == {
        "name": "gaussian_mixture",
        "components": 3,
    }


def test_all_wrong_overrides_are_in_one_report() -> None:
    with pytest.raises(RecipeError) as caught:
        read("extends: base.yaml\n", "a", "b=[", "seed=1")
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == ["not an override", "not YAML"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n: 8\nx: ${n}\n", 8),
        ("n: 0.5\nx: ${n}\n", 0.5),
        ("n: true\nx: ${n}\n", True),
        ("n: null\nx: ${n}\n", None),
        ("n: '8'\nx: ${n}\n", "8"),
        ("n: [1, [2]]\nx: ${n}\n", [1, [2]]),
        ("n: [1, [2]]\nx: ${n.1.0}\n", 2),
        ("n: {a: {b: c}}\nx: ${n.a}\n", {"b": "c"}),
        ("n: {a-b: {'2': c}}\nx: ${n.a-b.2}\n", "c"),
        ("n: 8\nx: a_${n}_b${n}\n", "a_8_b8"),
        ("n: ${m}\nm: 3\nx: ${n}\n", 3),
        ("n: 8\nx: ['${n}', {y: '${n}'}]\n", [8, {"y": 8}]),
        ("x: $8 {n}\n", "$8 {n}"),
    ],
)
def test_an_interpolation_is_the_value_that_it_names(text: str, value: Any) -> None:
    found = read(text)["x"]
    assert found == value
    assert type(found) is type(value)


def test_interpolations_see_the_bases_and_the_overrides() -> None:
    Path("base.yaml").write_text("width: 8\nhidden: ['${width}', '${width}']\n")
    assert read("extends: base.yaml\n")["hidden"] == [8, 8]
    assert read("extends: base.yaml\nwidth: 4\n")["hidden"] == [4, 4]
    assert read("extends: base.yaml\n", "width=2", "hidden=['${width}']")["hidden"] == [2]


def test_a_chain_of_forty_references_is_followed() -> None:
    text = "".join(f"a{link}: ${{a{link + 1}}}\n" for link in range(40)) + "a40: end\n"
    assert read(text)["a0"] == "end"


def test_what_omegaconf_cannot_resolve_is_reported() -> None:
    with pytest.raises(RecipeError, match=r"x: an interpolation that cannot be resolved: .*Missing mandatory value: n"):
        read("n: ???\nx: ${n}\n")
