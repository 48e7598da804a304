"""Every command and every piece of Python and YAML in the documentation works."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from framework.cli import app
from framework.document import parse_document

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    lines = [(page.name, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [(page, line) for page, line in lines if line.startswith("fw ")]


def test_there_are_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value)
def test_a_command_of_the_documentation_works(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").symlink_to(ROOT / "recipes")
    (python,) = [block for block in blocks(ROOT / "docs" / "plugins.md", "python") if "register_divergence" in block]
    if page == "README.md":
        (python,) = blocks(ROOT / page, "python")
    Path("energy.py").write_text(python)  # the file that the page's command names
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "run" and "--dry-run" not in words:
        if "--seeds" in words:  # a group has no dry run
            at = words.index("--seeds")
            del words[at : at + 2]
        words.append("--dry-run")
    if any(word.startswith("runs/") for word in words):  # made up: the command line is right, the run is not there
        result = CliRunner().invoke(app, words)
        assert "no run directory" in result.output
        return
    if words[0] == "variance":
        words += ["--rollouts", "10"]
    monkeypatch.setattr(sys, "argv", ["fw", *words])  # what several processes are started with
    result = CliRunner().invoke(app, words, env=dict(os.environ))
    assert result.exit_code == 0, result.output


def test_the_python_of_decision_processes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (python,) = blocks(ROOT / "docs" / "decision_processes.md", "python")
    exec(python, {})
    assert capsys.readouterr().out == "0.8235\n"


@pytest.mark.usefixtures("own_registries")
def test_the_policy_of_the_documentation_trains(tmp_path: Path) -> None:
    (python,) = [block for block in blocks(ROOT / "docs" / "plugins.md", "python") if "register_policy" in block]
    (tmp_path / "linear.py").write_text(python)
    recipe = str(ROOT / "recipes" / "cartpole_reinforce.yaml")
    few = ["trainer.max_episodes=8", "evaluation.episodes=2", "policy={name: linear}", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["run", recipe, "--plugin", str(tmp_path / "linear.py"), *few])
    assert result.exit_code == 0, result.output


def block_with(word: str) -> str:
    (python,) = [block for block in blocks(ROOT / "docs" / "plugins.md", "python") if word in block]
    return python


OWN_PARTS = {
    "update": ["update={name: better_than_expected}"],
    "baseline": ["update={name: a2c}", "baseline={name: linear_value}"],
    "wrapper": ["environment.wrappers=[{name: scale_reward, factor: 0.1}]"],
}


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize("kind", OWN_PARTS)
def test_an_agents_part_of_the_documentation_trains(kind: str, tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(block_with(f"register_{kind}"))
    recipe = str(ROOT / "recipes" / "cartpole_ppo.yaml")
    few = ["trainer.max_env_steps=400", "evaluation.episodes=2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["run", recipe, "--plugin", str(plugin), *OWN_PARTS[kind], *few])
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("own_registries")
def test_the_parts_of_the_documentation_obey_the_laws() -> None:
    names: dict[str, object] = {}
    for word in ("register_policy", "register_baseline", "register_update", "check_baseline("):
        exec(block_with(word), names)


def test_a_divergence_takes_ten_lines() -> None:
    (python,) = blocks(ROOT / "README.md", "python")
    code = [line for line in python.splitlines() if line.strip()]
    assert len(code) <= 10


def test_the_recipe_of_the_documentation_is_the_shipped_one(tmp_path: Path) -> None:
    from framework.discovery import load_plugins
    from framework.schema import load_recipe

    load_plugins()
    (yaml,) = blocks(ROOT / "docs" / "recipes.md", "yaml")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml)
    assert load_recipe(path).plain() == load_recipe(ROOT / "recipes" / "infovae_mnist.yaml").plain()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_and_links_of_a_page_are_right(page: Path) -> None:
    for block in blocks(page, "yaml"):
        parse_document(block, page.name)
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
