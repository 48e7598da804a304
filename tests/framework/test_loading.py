"""A run's learner, loaded without training it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import framework
from framework import checkpoint, loading
from framework.checkpoint import CheckpointError
from framework.data import DataError, Dataset
from framework.errors import RecipeError
from framework.learners.latent import Latent
from framework.learners.policy_gradient import PolicyGradient
from framework.resume import prepare_resumption
from framework_plugins.data.digits import Digits
from tests.framework.small_runs import CARTPOLE, DIGITS, contents, trained

PLUGIN = '''\
from framework import Divergence, register_divergence


@register_divergence("squared_mean")
class SquaredMean(Divergence):
    """The squared mean of the aggregate posterior."""
    aggregate = True
    def forward(self, q, p, z):
        return z.mean(0).square().sum()
'''


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("cartpole"), CARTPOLE)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("digits"), DIGITS)


def weights_in(run: Path, name: str) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoint.load(run / "checkpoints" / name)["learner"]
    return weights


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_an_agent_has_the_weights_of_its_run_and_acts(cartpole: Path) -> None:
    before = contents(cartpole)
    learner = framework.load(cartpole)
    assert isinstance(learner, PolicyGradient)
    assert not learner.training
    assert_same(learner.state_dict(), weights_in(cartpole, "last.ckpt"))
    assert learner.act(torch.zeros(2, 4), None, greedy=True).shape == (2,)
    assert contents(cartpole) == before


def test_a_latent_run_is_loaded_without_its_data(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Digits) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr(Digits, "load", load)
    learner = framework.load(str(digits))
    assert isinstance(learner, Latent)
    assert_same(learner.state_dict(), weights_in(digits, "last.ckpt"))
    assert learner.prior().sample((3,)).shape == (3, 2)


def test_the_weights_are_those_of_the_summary_or_those_that_are_asked_for(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", digits, run], check=True)
    state = checkpoint.load(run / "checkpoints" / "last.ckpt")
    for number, name in enumerate(state["learner"]):
        state["learner"][name] = torch.full_like(state["learner"][name], number)
    checkpoint.save(state, run / "checkpoints", best=False)
    other, best = weights_in(run, "last.ckpt"), weights_in(run, "best.ckpt")
    assert_same(framework.load(run).state_dict(), other)
    assert_same(framework.load(run, weights="best").state_dict(), best)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "weights": "best.ckpt"}))
    assert_same(framework.load(run).state_dict(), best)
    assert_same(framework.load(run, weights="last").state_dict(), other)
    (run / "summary.json").unlink()  # it goes on
    assert_same(framework.load(run).state_dict(), other)


def test_a_damaged_checkpoint_is_passed_over_by_name(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", digits, run], check=True)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"torn")
    loaded = loading.load_run(run)
    assert_same(loaded.built.learner.state_dict(), weights_in(run, "previous.ckpt"))
    (note,) = loaded.notes
    assert "last.ckpt is damaged" in note
    assert "the one before is used" in note


def test_what_data_took_the_place_of_others_is_noted(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Digits.load

    def replaced(data: Digits) -> Dataset:
        dataset = whole(data)
        return replace(dataset, source=replace(dataset.source, fallbacks=("IN ITS PLACE are others.",)))

    monkeypatch.setattr(Digits, "load", replaced)
    assert loading.load_run(digits, with_data=True).notes == ["IN ITS PLACE are others."]
    assert loading.load_run(digits).notes == []


@pytest.mark.usefixtures("own_registries")
def test_the_runs_plugin_files_are_imported(tmp_path: Path) -> None:
    plugin = tmp_path / "squared_mean.py"
    plugin.write_text(PLUGIN)
    recipe = DIGITS.replace("kl: {}", "kl: {}, squared_mean: {}")
    run = trained(tmp_path, recipe, "trainer.max_epochs=1", plugins=[plugin])
    for module in imported_from(plugin):
        del sys.modules[module]
    learner = framework.load(run)
    assert len(imported_from(plugin)) == 1
    assert "SquaredMean" in {type(module).__name__ for module in learner.modules()}
    plugin.write_text(PLUGIN + "# changed")
    (note,) = loading.load_run(run).notes
    assert note == f"the plugin {plugin} is not what it was when the run was last trained"


def imported_from(plugin: Path) -> list[str]:
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if file == str(plugin)]


def test_weights_in_float64_stay_that(tmp_path: Path) -> None:
    run = trained(tmp_path, DIGITS, "trainer.precision=64", "trainer.max_epochs=1")
    assert {one.dtype for one in framework.load(run).parameters()} == {torch.float64}


def test_what_is_no_run_is_said() -> None:
    with pytest.raises(RecipeError, match=r"nowhere: no run directory\n +expected: +a directory that `fw run` made"):
        framework.load("nowhere")


def test_a_group_is_named_as_one_and_a_run_in_it(tmp_path: Path) -> None:
    for seed in (10, 3):
        (tmp_path / f"seed-{seed}").mkdir()
    message = r" is a group of runs, one for each seed\n +expected: +one of its runs\n +write: +\S+/seed-3\n"
    with pytest.raises(RecipeError, match=message):
        framework.load(tmp_path)
    with pytest.raises(RecipeError, match=message):
        prepare_resumption(tmp_path, [], tmp_path)


def test_a_checkpoint_that_is_not_there_is_named(cartpole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", cartpole, run], check=True)
    (run / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"best\.ckpt cannot be read: No such file"):
        framework.load(run, weights="best")


def test_a_recipe_that_was_changed_does_not_fit(cartpole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", cartpole, run], check=True)
    text = (run / "recipe.yaml").read_text()
    assert "hidden: [8]" in text
    (run / "recipe.yaml").write_text(text.replace("hidden: [8]", "hidden: [9]"))
    with pytest.raises(RecipeError, match=r"the checkpoint does not fit the recipe: .*size mismatch.*\n.*as `fw run`"):
        framework.load(run)


def test_other_data_than_the_runs_are_refused(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", digits, run], check=True)
    session = json.loads((run / "environment.json").read_text())
    session["data"]["sha256"] = "0" * 64
    (run / "environment.json").write_text(json.dumps(session))
    with pytest.raises(DataError, match=r"what is found now, at .*, is not the same"):
        loading.load_run(run, with_data=True)


def test_the_public_name_is_the_function() -> None:
    assert framework.load is loading.load
