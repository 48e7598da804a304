"""A tree against the constructors of its parts. What is refused in the built-in ones: test_broken_recipes.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from framework import Prior, Schedule, register_encoder, register_prior
from framework.discovery import BrokenPlugin
from framework.document import dump_document
from framework.errors import RecipeError
from framework.prior import priors
from framework.schema import Part, Recipe, Weighted, load_recipe

pytestmark = pytest.mark.usefixtures("own_registries")

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").rglob("*.yaml"))

RECIPE = """\
learner: latent
data: {name: digits, batch_size: 32}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences:
  kl: {weight: 2}
  other: {name: mmd, weight: {name: linear, start: 0, end: 1, steps: 10}}
optimizer: {name: adam, lr: 1}
trainer: {max_epochs: 1}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str = RECIPE, *overrides: str, broken: tuple[BrokenPlugin, ...] = ()) -> Recipe:
    Path("my_recipe.yaml").write_text(text)
    return load_recipe(Path("my_recipe.yaml"), overrides, broken)


def with_prior(prior: str) -> str:
    return RECIPE.replace("prior: standard_normal", f"prior: {prior}")


def register(factory: Callable[..., Any], name: str = "mine") -> None:
    """Register a function as a prior; only its signature matters here."""
    register_prior(name)(factory)


def options_of_prior(prior: str, *overrides: str) -> dict[str, Any]:
    part: Part = load(with_prior(prior), *overrides).learner.options["prior"]
    return part.options


def problem(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    assert len(caught.value.problems) == 1, caught.value
    return str(caught.value.problems[0])


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 4


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_right_and_its_resolved_form_is_itself(path: Path) -> None:
    recipe = load_recipe(path)
    plain = recipe.plain()
    Path("resolved.yaml").write_text(dump_document(plain))
    again = load_recipe(Path("resolved.yaml"))
    assert again.plain() == plain
    assert again.name == recipe.name == path.stem, "a recipe is called what its file is called"
    assert "extends" not in plain


def test_parts_are_checked_and_their_defaults_filled_in() -> None:
    recipe = load()
    assert (recipe.name, recipe.seed) == ("my_recipe", 0), "the file's name and seed 0 where the recipe says nothing"
    encoder = recipe.learner.options["encoder"]
    assert (encoder.entry.name, encoder.path) == ("mlp", "encoder")
    assert encoder.options == {
        "hidden": [8],
        "activation": "relu",
        "dropout": 0.0,
        "posterior": "gaussian",
        "scale": "exp",
        "categories": None,
    }
    kl, other = recipe.learner.options["divergences"].values()
    assert isinstance(kl, Weighted)
    assert (kl.part.entry.name, kl.weight) == ("kl", 2.0)
    assert (other.part.entry.name, other.weight.entry.name) == ("mmd", "linear")
    assert recipe.trainer.options["devices"] == "auto"


def test_an_integer_becomes_a_float_where_a_float_is_expected() -> None:
    lr = load().learner.options["optimizer"].options["lr"]
    assert (lr, type(lr)) == (1.0, float)


def test_a_resolved_recipe_keeps_strings_that_look_like_something_else() -> None:
    plain = load("name: '1e3'\n" + RECIPE).plain()
    Path("resolved.yaml").write_text(dump_document(plain))
    assert load_recipe(Path("resolved.yaml")).name == "1e3"


def test_a_label_is_the_name_unless_a_name_is_there_and_null_takes_it_out() -> None:
    recipe = load(RECIPE.replace("kl: {weight: 2}", "kl: null"))
    assert list(recipe.learner.options["divergences"]) == ["other"]
    assert list(load(RECIPE, "divergences.kl=null").learner.options["divergences"]) == ["other"]


def test_a_string_of_the_command_line_needs_no_quotes() -> None:
    assert load(RECIPE, "name=1").name == "1"
    assert load(RECIPE, "name=1e3").name == "1e3"
    assert load(RECIPE, "name=true").name == "true"


def test_a_string_in_a_list_of_the_command_line_needs_no_quotes() -> None:
    def prior(*, tags: list[str]) -> Prior: ...

    register(prior)
    assert options_of_prior("mine", "prior.tags=[1, a]") == {"tags": ["1", "a"]}


def test_a_string_in_a_file_needs_them() -> None:
    assert "name: a number does not fit" in problem("name: 1\n" + RECIPE)


def test_a_file_whose_name_is_no_folders_needs_a_name() -> None:
    Path("my recipe.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError, match="name: a recipe's name is also a folder's"):
        load_recipe(Path("my recipe.yaml"))
    assert load_recipe(Path("my recipe.yaml"), ["name=mine"]).name == "mine"


def test_a_context_argument_may_be_set_and_is_left_to_the_builder_otherwise() -> None:
    assert "latent_dim" not in options_of_prior("standard_normal")
    assert options_of_prior("{name: standard_normal, latent_dim: 3}") == {"latent_dim": 3}


def test_every_kind_of_annotation_takes_what_it_says() -> None:
    def prior(
        *,
        flag: bool,
        count: int,
        choice: Literal["a", 2],
        nothing: int | None,
        pair: tuple[int, str],
        many: tuple[float, ...],
        table: dict[str, list[int]],
        amount: float | Schedule,
        later: float | Schedule,
        inner: Prior | None = None,
        parts: list[Prior],
        named: dict[str, Prior],
        lambda_: float,
    ) -> Prior: ...

    register(prior)
    options = options_of_prior(
        "{name: mine, flag: true, count: 1, choice: 2, nothing: null, pair: [1, b], many: [1, 2.5], table: {x: [1]},"
        " amount: 3, later: {name: constant, value: 4}, inner: standard_normal, parts: [standard_normal,"
        " {name: standard_normal}], named: {standard_normal: {}, gone: null}, lambda: 1}"
    )
    later, inner, parts, named = (options.pop(name) for name in ("later", "inner", "parts", "named"))
    assert options == {
        "flag": True,
        "count": 1,
        "choice": 2,
        "nothing": None,
        "pair": (1, "b"),
        "many": (1.0, 2.5),
        "table": {"x": [1]},
        "amount": 3.0,
        "lambda": 1.0,
    }
    assert (later.entry.name, later.path, later.options) == ("constant", "prior.later", {"value": 4.0})
    assert inner.entry.name == "standard_normal"
    assert [part.path for part in parts] == ["prior.parts[0]", "prior.parts[1]"]
    assert list(named) == ["standard_normal"]


def test_null_stays_where_null_is_a_value() -> None:
    def prior(*, table: dict[str, int | None]) -> Prior: ...

    register(prior)
    assert options_of_prior("{name: mine, table: {a: 1, b: null}}") == {"table": {"a": 1, "b": None}}


@pytest.mark.parametrize(
    ("value", "message", "expected"),
    [
        ("[1]", "prior.pair: a list does not fit", "a list of 2: an integer, a string"),
        ("[1, 2]", "prior.pair[1]: a number does not fit", "a string"),
        ("{a: 1}", "prior.pair: a map does not fit", "a list of 2: an integer, a string"),
        ("'1'", "prior.pair: a string does not fit", "a list of 2: an integer, a string"),
    ],
)
def test_a_tuple_takes_as_many_as_it_has(value: str, message: str, expected: str) -> None:
    def prior(*, pair: tuple[int, str]) -> Prior: ...

    register(prior)
    report = problem(with_prior(f"{{name: mine, pair: {value}}}"))
    assert message in report
    assert f"expected: {expected}" in report


def test_an_unknown_name_of_an_optional_part_says_what_else_may_be_there() -> None:
    def prior(*, inner: Prior | None = None) -> Prior: ...

    register(prior)
    report = problem(with_prior("{name: mine, inner: standard_norml}"))
    assert "prior.inner: there is no prior 'standard_norml'" in report
    assert f"expected: null, or one of {', '.join(sorted(priors.names()))}\n" in report
    assert "write:    standard_normal" in report


def test_an_annotation_that_a_recipe_cannot_express_is_named_when_the_part_is_used() -> None:
    def prior(*, latent_dim: int, where: Path) -> Prior: ...

    register(prior)
    load()  # a recipe that does not use the part does not care
    report = problem(with_prior("{name: mine, where: here}"))
    assert "prior 'mine': the parameter 'where' is annotated <class 'pathlib.Path'>, which a recipe cannot" in report
    assert "Allowed are bool, int, float, str, Literal, lists, tuples and dicts of them, parts, and float" in report
    assert "supplied by the builder are latent_dim, input_shape, encoder, facts." in report
    assert report.startswith("my_recipe.yaml:6:1: prior: ")


def test_a_parameter_that_recipes_have_another_use_for_is_named_when_the_part_is_used() -> None:
    def encoder(*, name: str = "a") -> Prior: ...

    register_encoder("mine")(encoder)
    report = problem(RECIPE.replace("encoder: {name: mlp, hidden: [8]}", "encoder: mine"))
    assert (
        "encoder 'mine': the parameter 'name' has a name that recipes keep for themselves: name. Rename it." in report
    )


def test_a_name_that_a_broken_plugin_may_have_meant_to_register_names_the_plugin() -> None:
    broken = BrokenPlugin("mine.py", "ImportError: no such thing")
    load(broken=(broken,))
    with pytest.raises(RecipeError) as caught:
        load(with_prior("mine"), broken=(broken,))
    assert str(caught.value).endswith(
        "plugin mine.py is broken and was left out: ImportError: no such thing\n\n1 problem found."
    )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("encoder.hidden", "my_recipe.yaml:4:22"),
        ("encoder.activation", "my_recipe.yaml:4:1"),
        ("divergences.other.weight.steps", "my_recipe.yaml:9:70"),
        ("prior.latent_dim", "my_recipe.yaml:6:8"),
        ("nothing", "None"),
        ("", "None"),
    ],
)
def test_a_path_has_its_place_or_that_of_the_nearest_part_above(path: str, place: str) -> None:
    assert str(load().mark(path)) == place
