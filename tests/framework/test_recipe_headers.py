"""What recipes say of themselves, and how it is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.errors import RecipeError
from framework.recipe_headers import WIDTH, Header, list_recipes, read_header

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

TABLE = """\
# A bandit (Sutton & Barto 2018): in two
# lines.
# Measured at step 9, over
# 10 problems. Not this:
#   a=1    1.0 ± 0.1    80 %
#   b=2    2.0 ± 0.1
# Seconds on one core.
#
#     fw run recipes/a.yaml
#     fw run recipes/a.yaml seed=1      # another
name: a  # no header
# nor this
"""


def test_a_header_is_prose_numbers_and_commands() -> None:
    assert read_header(TABLE) == Header(
        "A bandit (Sutton & Barto 2018): in two lines.",
        "Measured at step 9, over 10 problems. Not this:\n  a=1    1.0 ± 0.1    80 %\n  b=2    2.0 ± 0.1\n"
        "Seconds on one core.",
        ("fw run recipes/a.yaml", "fw run recipes/a.yaml seed=1      # another"),
    )


def test_a_recipe_without_a_header_has_an_empty_one() -> None:
    assert read_header("name: a\n# late\n") == Header("", "", ())


def test_recipes_are_listed_with_what_they_are_and_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("name: b\n")
    (tmp_path / "a.yaml").write_text(TABLE)
    (tmp_path / "notes.txt").write_text("no recipe")
    assert list_recipes(tmp_path).splitlines() == [
        f"{tmp_path}/a.yaml",
        "    A bandit (Sutton & Barto 2018): in two lines.",
        "    Measured at step 9, over 10 problems.",
        "      a=1    1.0 ± 0.1    80 %",
        "      b=2    2.0 ± 0.1",
        f"{tmp_path}/b.yaml",
        "    (no header)",
    ]


def test_the_shipped_recipes_fit_a_hundred_columns() -> None:
    lines = list_recipes(RECIPES).splitlines()
    said = [line for line in lines if line.startswith(" ")]
    assert {line for line in lines if line not in said} == {str(path) for path in RECIPES.glob("*.yaml")}
    assert max(map(len, said)) <= WIDTH
    assert "    A variational autoencoder on MNIST (Kingma & Welling 2014), 16 latents, dynamic binarisation." in said


@pytest.mark.parametrize(("made", "found"), [(True, "no file *.yaml"), (False, "no such directory")])
def test_a_folder_without_recipes_is_refused(tmp_path: Path, made: bool, found: str) -> None:
    folder = tmp_path / "elsewhere"
    if made:
        folder.mkdir()
    with pytest.raises(RecipeError) as caught:
        list_recipes(folder)
    assert str(caught.value) == (
        f"there are no recipes in {folder}\n"
        f"       found:    {found}\n"
        "       expected: a checkout's recipes/ in the working directory, or the name of another folder\n"
        "       write:    fw list recipes --recipes DIR\n\n"
        "1 problem found."
    )
