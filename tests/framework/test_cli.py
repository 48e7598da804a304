"""The command line: what it imports, its exit codes, and a stranger's plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from framework.cli import app
from framework.data import DataError
from framework.errors import NonFiniteError
from tests.framework import command_line

pytestmark = pytest.mark.usefixtures("own_registries")

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

# What third parties write.
ENERGY = '''\
from torch import cdist

from framework import Divergence, register_divergence


@register_divergence("energy")
class EnergyDistance(Divergence):
    """Energy distance of the aggregate posterior to the prior; units of z."""
    aggregate = True
    def forward(self, q, p, z):                                    # z [B, D]
        w = p.sample(z.shape[:1])                                  # [B, D]
        return 2 * cdist(z, w).mean() - cdist(z, z).mean() - cdist(w, w).mean()
'''
RECIPE = """\
name: digits
learner: latent
data: {name: digits, batch_size: 32}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences:
  kl: {weight: 1.0}
optimizer: {name: adam, lr: 1.0e-3}
trainer: {max_steps: 2, accelerator: cpu}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FW_DATA_DIR", str(tmp_path / "data"))
    Path("recipe.yaml").write_text(RECIPE)
    Path("energy.py").write_text(ENERGY)


def fw(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert "Traceback" not in result.output
    return result


def imported_by(*arguments: str) -> set[str]:
    """Return the packages that a process has imported after a command."""
    program = (
        "import sys\n"
        "from framework.cli import main\n"
        f"sys.argv = ['fw', *{list(arguments)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('imported:', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("imported:").split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["check", "--help"], ["variance", "--help"]], ids=" ".join
)
def test_help_imports_nothing_that_is_heavy(arguments: list[str]) -> None:
    packages = imported_by(*arguments)
    assert {"framework", "typer"} <= packages
    heavy = {"torch", "numpy", "pytorch_lightning", "wandb", "yaml", "omegaconf", "matplotlib", "framework_plugins"}
    assert packages & heavy == set()


def test_checking_a_recipe_imports_neither_lightning_nor_wandb() -> None:
    packages = imported_by("check", str(RECIPES / "vae_mnist.yaml"))
    assert {"torch", "framework_plugins"} <= packages
    assert packages & {"pytorch_lightning", "lightning_fabric", "wandb", "matplotlib", "sklearn", "mlxtend"} == set()


def test_no_arguments_show_the_help() -> None:
    result = fw()
    assert result.exit_code == 2
    for command in ("run", "resume", "check", "list", "show", "evaluate", "watch", "variance"):
        assert f" {command} " in result.output


@pytest.mark.parametrize(
    "arguments", [["chek"], ["check"], ["check", "recipe.yaml", "--plugins", "a.py"]], ids=" ".join
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert fw(*arguments).exit_code == 2


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_right(path: Path) -> None:
    result = fw("check", str(path))
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{path}: right ({path.stem})\n", "")


def test_list_shows_every_kind_and_one_alone() -> None:
    result = fw("list")
    assert result.exit_code == 0
    assert {"learner", "encoder", "divergence", "data", "schedule", "optimizer"} <= set(result.stdout.splitlines())
    result = fw("list", "divergences")
    assert result.exit_code == 0
    assert result.stdout.startswith("divergence\n  adversarial ")
    assert "encoder" not in result.stdout.splitlines()


def test_list_shows_recipes_of_the_working_directory_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fw("list").stdout.endswith("\nrecipes\n  fw list recipes\n")
    monkeypatch.chdir(RECIPES.parent)
    result = fw("list", "recipes")
    assert result.exit_code == 0
    assert "recipes/vae_mnist.yaml\n    A variational autoencoder on MNIST" in result.stdout
    elsewhere = fw("list", "recipe", "--recipes", str(RECIPES))
    assert elsewhere.stdout == result.stdout.replace("recipes/", f"{RECIPES}/")
    monkeypatch.chdir(Path(__file__).parent)
    missing = fw("list", "recipes")
    assert missing.exit_code == 2
    assert "there are no recipes in recipes\n       found:    no such directory\n" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["divergences", "--recipes", "a"],
            "--recipes is of `fw list recipes`\n       found:    fw list divergences\n",
        ),
        (["--recipes", "a"], "--recipes is of `fw list recipes`\n       found:    fw list\n"),
        (["recipes", "--plugin", "a.py"], "--plugin registers parts, and `fw list recipes` lists none\n"),
    ],
)
def test_list_drops_no_option(arguments: list[str], said: str) -> None:
    result = fw("list", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_list_of_an_unknown_kind_ends_with_2() -> None:
    result = fw("list", "divergense")
    assert result.exit_code == 2
    assert "there is no kind 'divergense'" in result.stderr


def test_show_of_a_part_and_of_a_recipe() -> None:
    result = fw("show", "kl")
    assert result.exit_code == 0
    assert result.stdout.startswith("divergence kl\n")
    result = fw("show", str(RECIPES / "infovae_mnist.yaml"), "seed=5")
    assert result.exit_code == 0
    assert "seed: 5\n" in result.stdout
    assert "objective: reconstruction + 1 · infovae/kl + 999 · infovae/mmd\n" in result.stdout


def test_show_of_nothing_ends_with_2() -> None:
    result = fw("show", "kll")
    assert result.exit_code == 2
    assert (
        "there is no part 'kll'\n       expected: a name that `fw list` shows\n       write:    kl\n" in result.stderr
    )


def test_data_that_cannot_be_had_end_with_74(monkeypatch: pytest.MonkeyPatch) -> None:
    from framework_plugins.data import mnist

    def nowhere(directory: Path) -> None:
        raise DataError("every mirror is dead")

    monkeypatch.setattr(mnist, "published", nowhere)
    result = fw("run", str(RECIPES / "vae_mnist.yaml"), "data.fallback=forbid")
    assert result.exit_code == 74
    assert result.stderr.startswith("input/output: MNIST cannot be had: every mirror is dead.")
    assert "data.fallback=allow" in result.stderr
    assert not Path("runs").exists()


def test_data_that_are_damaged_end_with_74() -> None:
    Path("x.npz").write_bytes(b"no archive")
    recipe = RECIPE.replace("{name: digits, batch_size: 32}", "{name: arrays, batch_size: 32, path: x.npz}")
    Path("recipe.yaml").write_text(recipe)
    result = fw("check", "recipe.yaml")
    assert result.exit_code == 74
    assert result.stderr.startswith("input/output: x.npz cannot be read: ")


@pytest.mark.parametrize("command", ["run", "check", "resume"])
def test_what_trains_says_that_nothing_was_trained(command: str) -> None:
    result = fw(command, "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr.endswith("\n\n1 problem found; nothing was trained.\n")


@pytest.mark.parametrize(
    "arguments", [["evaluate", "a"], ["watch", "a"], ["variance", "a"], ["show", "a"], ["list", "a"]]
)
def test_what_would_not_train_does_not_say_so(arguments: list[str]) -> None:
    result = fw(*arguments)
    assert result.exit_code == 2
    assert result.stderr.endswith("\n\n1 problem found.\n")


def test_a_number_that_is_not_finite_ends_with_76(monkeypatch: pytest.MonkeyPatch) -> None:
    from framework import run

    def fail(*arguments: object) -> None:
        raise NonFiniteError("step 3: the loss is nan")

    monkeypatch.setattr(run, "run", fail)
    result = fw("run", "recipe.yaml")
    assert (result.exit_code, result.stderr) == (76, "training stopped: step 3: the loss is nan\n")


@pytest.mark.parametrize("json", [False, True])
def test_a_run_that_was_stopped_ends_with_75(monkeypatch: pytest.MonkeyPatch, json: bool) -> None:
    from framework import run

    monkeypatch.setattr(run, "run", lambda *arguments: run.Outcome(Path("runs/digits/1"), None))
    result = fw("run", "recipe.yaml", *(["--json"] if json else []))
    assert result.exit_code == 75
    assert result.stdout == ('{"run": "runs/digits/1", "summary": null}\n' if json else "")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from framework import run

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(run, "run", fail)
    result = fw("run", "recipe.yaml")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_dry_run_trains_nothing_and_makes_no_directory() -> None:
    result = fw("run", "recipe.yaml", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "objective: reconstruction + 1 · kl\n" in result.stdout
    assert result.stdout.endswith("nothing was trained: --dry-run\n")
    assert not Path("runs").exists()


def test_a_dry_run_as_json_is_refused_before_anything_is_read() -> None:
    Path("recipe.yaml").write_text(RECIPE.replace("name: digits, batch", "name: arrays, path: absent.npz, batch"))
    assert "absent.npz" in fw("run", "recipe.yaml", "--dry-run").stderr
    result = fw("run", "recipe.yaml", "--dry-run", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json prints the result of a run, and --dry-run makes none" in result.stderr
    assert "absent.npz" not in result.stderr


def test_a_dry_run_of_several_processes_is_described_once(tmp_path: Path) -> None:
    ended = command_line.fw(tmp_path, "run", "recipe.yaml", "trainer.devices=2", "--dry-run")
    assert (ended.code, ended.stderr) == (0, [])
    assert len(ended.ranks) == 2
    for line in ("name: digits", "objective: reconstruction + 1 · kl", "nothing was trained: --dry-run"):
        assert ended.stdout.count(line) == 1, line
    assert ended.stdout[-1] == "nothing was trained: --dry-run"
    assert not Path("runs").exists()


def test_a_strangers_divergence_is_listed_shown_and_used() -> None:
    plugin = ("--plugin", "energy.py")
    listed = fw("list", "divergences", *plugin)
    assert (
        "  energy                           Energy distance of the aggregate posterior to the prior; units of z.\n"
        in listed.stdout
    )
    shown = fw("show", "energy", *plugin)
    assert shown.stdout.startswith(f"divergence energy\n  {Path('energy.py').resolve()}:6\n\n  no options\n")
    checked = fw("check", "recipe.yaml", "divergences.energy.weight=10", *plugin)
    assert (checked.exit_code, checked.stdout) == (0, "recipe.yaml: right (digits)\n"), checked.output
    formula = fw("show", "recipe.yaml", "divergences.energy.weight=10", *plugin)
    assert "objective: reconstruction + 1 · kl + 10 · energy\n" in formula.stdout


def with_constructor(parameters: str) -> str:
    constructor = f"    def __init__(self, {parameters}) -> None:\n        super().__init__()\n"
    return ENERGY.replace("    aggregate = True\n", f"    aggregate = True\n{constructor}")


def test_a_misspelt_option_of_a_strangers_divergence_is_named_with_the_right_one() -> None:
    Path("energy.py").write_text(with_constructor("*, power: float = 1.0"))
    arguments = ("check", "recipe.yaml", "--plugin", "energy.py", "divergences.energy.powr=2")
    result = fw(*arguments)
    assert result.exit_code == 2
    assert "divergences.energy.powr: divergence 'energy' has no option 'powr'" in result.stderr
    assert "       write:    power\n" in result.stderr
    assert fw(*arguments[:-1], "divergences.energy.power=2").exit_code == 0


def test_a_name_without_its_plugin_is_not_there() -> None:
    result = fw("check", "recipe.yaml", "divergences.energy.weight=10")
    assert result.exit_code == 2
    assert "there is no divergence 'energy'" in result.stderr


def test_a_broken_plugin_is_named_and_stops_only_what_needs_it() -> None:
    Path("bad.py").write_text(ENERGY.replace("from torch import cdist", "from torch import cdits"))
    sentence = "plugin bad.py is broken and was left out: ImportError: cannot import name 'cdits' from 'torch'"
    result = fw("check", "recipe.yaml", "--plugin", "bad.py")
    assert (result.exit_code, result.stdout) == (0, "recipe.yaml: right (digits)\n")
    assert result.stderr.startswith(f"warning: {sentence}")
    result = fw("check", "recipe.yaml", "divergences.energy.weight=10", "--plugin", "bad.py")
    assert result.exit_code == 2
    assert "there is no divergence 'energy'" in result.stderr
    assert sentence in result.stderr


def test_a_plugin_that_is_not_there_ends_with_2() -> None:
    result = fw("check", "recipe.yaml", "--plugin", "enrgy.py")
    assert result.exit_code == 2
    assert "enrgy.py: there is no such plugin file\n       write:    energy.py\n" in result.stderr


def test_a_part_that_breaks_the_rules_of_constructors_ends_with_2() -> None:
    Path("energy.py").write_text(with_constructor("**options"))
    result = fw("show", "energy", "--plugin", "energy.py")
    assert result.exit_code == 2
    assert result.stderr.startswith("a plugin breaks a rule: ")
    assert "parameter 'options': a constructor is the recipe's schema; write its options out" in result.stderr
    result = fw("check", "recipe.yaml", "divergences.energy.weight=10", "--plugin", "energy.py")
    assert result.exit_code == 2
    assert "divergences.energy: " in result.stderr
    assert "write its options out, one by one." in result.stderr
