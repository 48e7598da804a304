"""Every shipped recipe builds and takes two steps."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from framework import run as running
from framework.data import DataError, default_directory
from framework.discovery import load_plugins
from framework.errors import RecipeError
from framework.prepare import prepare
from framework.recipe_headers import read_header
from framework.schema import Part, load_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"vae_mnist", "beta_vae_mnist", "infovae_mnist", "mmd_vae_mnist"} <= {path.stem for path in RECIPES}


def _few(path: Path) -> list[str]:
    """Overrides that make an agent's evaluation short, and take a part of CIFAR-10 in its place."""
    load_plugins()
    recipe = load_recipe(path)
    judged = isinstance(recipe.learner.options.get("evaluation"), Part)
    colour = recipe.data is not None and recipe.data.entry.name == "cifar10"
    return ["evaluation.episodes=2"] * judged + ["data.path=cifar10_subset/cifar10_15k.npz"] * colour


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    if path.stem == "lunarlander_ppo":
        pytest.importorskip("Box2D", reason="LunarLander's physics is the extra box2d")
    try:
        prepared = prepare(path, ["trainer.max_steps=2", *_few(path)], [], default_directory(dict(os.environ)))
    except (DataError, RecipeError) as error:
        if os.environ.get("FW_DATA_DIR"):
            raise
        pytest.skip(f"the data of {path.stem} are not here: set FW_DATA_DIR ({str(error).splitlines()[0]})")
    assert prepared.recipe.name == path.stem
    outcome = running.run(prepared, tmp_path, Console(quiet=True))
    assert outcome.summary is not None
    assert outcome.summary["step"] == 2
    numbers = [value for name, value in outcome.summary.items() if "/" in name]
    assert len(numbers) > 1
    assert all(math.isfinite(number) for number in numbers)
    assert json.loads((outcome.directory / "summary.json").read_text()) == outcome.summary


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_what_it_is_its_source_what_was_measured_and_how_it_is_run(path: Path) -> None:
    header = read_header(path.read_text(encoding="utf-8"))
    assert len(header.what) > 40
    assert re.search(r"\([^()]*\b(19|20)\d\d\b[^()]*\)", header.what), "authors and year, in parentheses"
    assert re.search(r"\d ?± ?\d|\(± \d", header.measured), "a line that begins with Measured, a number and its spread"
    assert f"fw run recipes/{path.name}" in header.commands[0]
