"""What `fw check`, `list` and `show` say."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from framework import Prior, register_prior
from framework.document import parse_document
from framework.errors import PluginError, RecipeError
from framework.registry import registries
from framework.schema import load_recipe
from framework.show import check_recipe, describe_part, describe_recipe, list_registered

pytestmark = pytest.mark.usefixtures("own_registries")

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def described(name: str, *overrides: str) -> str:
    recipe, built, broken = check_recipe(RECIPES / name, overrides, [], Path("no_data_here"))
    assert broken == []
    return describe_recipe(recipe, built.learner)


def test_a_recipe_is_checked_without_loading_any_data(tmp_path: Path) -> None:
    check_recipe(RECIPES / "vae_mnist.yaml", [], [], tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        (
            "mmd_vae_mnist.yaml",
            ["trainer.microbatch=32"],
            "mmd compares examples of the whole batch, and a microbatch does not have them at hand\n"
            "   1 | trainer.microbatch=32\n"
            "     |                    ^^\n"
            "       found:    32\n"
            "       expected: no microbatch, a smaller batch_size, or more processes\n"
            "       write:    null\n",
        ),
        (
            "vae_mnist.yaml",
            ["trainer.devices=3", "data.batch_size=100"],
            "data.batch_size: a batch is shared by 3 processes in equal parts\n"
            "   1 | data.batch_size=100\n"
            "     |                 ^^^\n"
            "       found:    100\n"
            "       expected: a multiple of 3\n"
            "       write:    99\n",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_without_loading_any_data(
    tmp_path: Path, name: str, overrides: list[str], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(RECIPES / name, overrides, [], tmp_path / "data")
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
    assert list(tmp_path.iterdir()) == []


def test_infovae_is_shown_as_its_formula_and_the_coefficients_that_it_implies() -> None:
    # Zhao, Song & Ermon, equation 6: (1 − α) KL(q(z|x)‖p) + (α + λ − 1) D, here with α = 0 and λ = 1000; in the mean
    # over x KL(q(z|x)‖p) = I(x;z) + KL(q(z)‖p).
    text = described("infovae_mnist.yaml")
    assert "objective: reconstruction + 1 · infovae/kl + 999 · infovae/mmd\n" in text
    implied = text.split("which puts, at the final weights, on\n")[1].splitlines()[:4]
    assert [line.split() for line in implied] == [
        ["reconstruction", "1"],
        ["I(x;z)", "1"],
        ["KL(q(z)‖p)", "1"],
        ["mmd", "999"],
    ]


def test_a_rewarded_mutual_information_takes_from_the_coefficient_that_the_kl_puts_there() -> None:
    # 4 (I + KL(q(z)‖p)) − 3 I
    text = described("vae_mnist.yaml", "divergences.kl.weight=4", "divergences.mutual_information.weight=-3")
    assert "objective: reconstruction + 4 · kl − 3 · mutual_information\n" in text
    assert ["I(x;z)", "1"] in [line.split() for line in text.splitlines()]
    assert ["KL(q(z)‖p)", "4"] in [line.split() for line in text.splitlines()]


def test_the_resolved_recipe_is_shown_and_can_be_read_again() -> None:
    text = described("infovae_mnist.yaml", "seed=3")
    shown = parse_document(text.split("\nobjective:")[0], "shown").plain()
    assert shown == load_recipe(RECIPES / "infovae_mnist.yaml", ["seed=3"]).plain()


def test_no_divergence_leaves_the_reconstruction() -> None:
    text = described("vae_mnist.yaml", "divergences.kl=null", "encoder.posterior=deterministic")
    assert "objective: reconstruction\n" in text
    assert "note: no elbo: the posterior is deterministic and has no density" in text


def test_the_papers_of_the_parts_are_named_once() -> None:
    papers = described("infovae_mnist.yaml").split("references:\n")[1].splitlines()
    assert len(papers) == len(set(papers))
    for author in ("Kingma & Welling", "Zhao, Song & Ermon", "Gretton et al.", "Kingma & Ba"):
        assert any(author in paper for paper in papers), author


def test_everything_registered_is_listed_under_its_kind() -> None:
    lines = list_registered(None, []).splitlines()
    kinds = [line for line in lines if not line.startswith(" ")]
    assert kinds == [registry.kind for registry in registries().values()]
    names = [line.split()[0] for line in lines if line.startswith(" ")]
    assert sorted(names) == sorted(name for registry in registries().values() for name in registry.names())
    assert len(names) > 20


@pytest.mark.parametrize("kind", ["divergence", "divergences"])
def test_one_kind_is_listed_by_its_singular_or_plural(kind: str) -> None:
    lines = list_registered(kind, []).splitlines()
    assert lines[0] == "divergence"
    assert [line.split()[0] for line in lines[1:]] == registries()["divergence"].names()
    assert "  kl                               KL(q‖p) = E_q[log q(z) − log p(z)] of each example, in nats." in lines


@pytest.mark.parametrize(("kind", "first"), [("policies", "policy"), ("policy", "policy"), ("data", "data")])
def test_a_plural_in_ies_is_understood(kind: str, first: str) -> None:
    assert list_registered(kind, []).splitlines()[0] == first


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"there is no kind 'divergense'\n(?s:.*)write: +divergence\n"):
        list_registered("divergense", [])


def test_a_part_is_shown_with_options_defaults_place_and_documentation() -> None:
    text = describe_part("infovae", [])
    entry = registries()["divergence"]["infovae"]
    assert text.startswith(
        f"divergence infovae\n  {entry.place}\n\n"
        "  alpha: a finite number; required\n"
        "  lambda: a finite number; required\n"
        "  of: a divergence ({name: …}); required\n\n"
    )
    assert text.endswith(inspect.getdoc(entry.factory) or "")


def test_defaults_are_shown_as_recipes_write_them() -> None:
    text = describe_part("adam", [])
    assert "  betas: a list of 2: a finite number, a finite number; default [0.9, 0.999]\n" in text
    assert "  parameters: supplied by the builder\n" in text
    assert "  lr: a finite number or a schedule ({name: …}); default 0.001\n" in text
    assert "scales: a list, each item a finite number or null; default null" in describe_part("mmd", [])


def test_a_part_without_options_says_so() -> None:
    assert describe_part("kl", []).splitlines()[3] == "  no options"


def test_a_name_of_two_kinds_is_shown_twice() -> None:
    text = describe_part("mlp", [])
    assert "encoder mlp\n" in text
    assert "decoder mlp\n" in text


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        describe_part("infove", [])
    assert str(caught.value) == (
        "there is no part 'infove'\n"
        "       expected: a name that `fw list` shows\n"
        "       write:    infovae\n\n"
        "1 problem found."
    )


def test_a_part_that_breaks_the_rules_of_constructors_says_which() -> None:
    def prior(**options: int) -> Prior: ...

    register_prior("mine")(prior)
    with pytest.raises(PluginError, match="parameter 'options': a constructor is the recipe's schema"):
        describe_part("mine", [])


def test_a_broken_plugin_is_named_under_what_is_shown(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("1 / 0\n")
    warning = f"warning: plugin {bad} is broken and was left out: ZeroDivisionError: division by zero ({bad}:1)"
    assert list_registered("prior", [bad]).splitlines()[-1] == warning
    assert describe_part("kl", [bad]).splitlines()[-1] == warning
