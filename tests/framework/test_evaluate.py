"""How good a run is, judged anew."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import framework
from framework.agent import Agent
from framework.cli import app
from framework.episodes import play
from framework.errors import RecipeError
from framework.evaluate import STREAM, describe, evaluate
from framework.randomness import key
from tests.framework.small_runs import CARTPOLE, CORRIDOR, DIGITS, SOLVED_LAKE, WALK, contents, trained


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("cartpole"), CARTPOLE)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier of samples that is hardly trained, and no pictures."""
    monkeypatch.setattr("framework.sample_quality.STEPS", 10)
    monkeypatch.setattr("framework.latent_figures.draw_evaluation", lambda *_, **__: [])


def fw(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_statistics_are_those_of_the_episodes(cartpole: Path) -> None:
    found = evaluate(cartpole, episodes=7, seed=2)
    agent = framework.load(cartpole)
    assert isinstance(agent, Agent)
    played = play(agent, 7, seed=key(2, STREAM, 0), greedy=True)
    returns = [total for total, _ in played]
    assert found["episodes"] == 7
    assert found["return"] == pytest.approx(statistics.mean(returns))
    assert found["return_standard_error"] == pytest.approx(statistics.stdev(returns) / math.sqrt(7))
    assert (found["return_minimum"], found["return_maximum"]) == (min(returns), max(returns))
    assert found["length"] == pytest.approx(statistics.mean(length for _, length in played))


def test_it_is_repeatable_and_depends_on_seed_and_manner(cartpole: Path) -> None:
    first = evaluate(cartpole, episodes=20)
    assert evaluate(cartpole, episodes=20) == first
    assert evaluate(cartpole, episodes=20, seed=1)["return"] != first["return"]
    assert evaluate(cartpole, episodes=20, sampled=True)["return"] != first["return"]


def test_the_episodes_are_not_those_of_trainings_own_evaluations(cartpole: Path) -> None:
    summary = json.loads((cartpole / "summary.json").read_text())
    same = {"episodes": 5, "seed": summary["seed"]}
    assert evaluate(cartpole, **same)["return"] != summary["test/return"]


def test_an_agents_run_directory_is_left_as_it_is(cartpole: Path) -> None:
    before = contents(cartpole)
    evaluate(cartpole)
    assert contents(cartpole) == before


def test_a_latent_run_keeps_its_files_and_gains_an_evaluation(digits: Path) -> None:
    kept = ("evaluation.json", "figures")

    def others() -> dict[str, tuple[str, int]]:
        found = contents(digits)
        return {name: of for name, of in found.items() if Path(name).relative_to(digits).parts[0] not in kept}

    before = others()
    found = evaluate(digits)
    assert others() == before
    assert json.loads((digits / "evaluation.json").read_text()) == found


def test_a_solved_lake_is_crossed_in_six_steps(tmp_path: Path) -> None:
    found = evaluate(trained(tmp_path, SOLVED_LAKE), episodes=9)
    assert found["return"] == 1
    assert found["return_standard_error"] == 0
    assert found["length"] == 6  # three to the right and three down


def test_as_many_episodes_as_in_training_where_nothing_else_is_asked_for(cartpole: Path, tmp_path: Path) -> None:
    assert evaluate(cartpole)["episodes"] == 5
    assert evaluate(trained(tmp_path, CORRIDOR), sampled=True)["episodes"] == 100


def test_the_likeliest_actions_of_a_table_come_with_a_note(cartpole: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, CORRIDOR)
    note = "the policy is a table of probabilities, of which only the likeliest action was taken; it draws: --sampled"
    found = evaluate(run, episodes=2)
    assert found["notes"] == [note]
    assert describe(found).endswith(f"\nnote: {note}")
    assert evaluate(run, episodes=2, sampled=True)["notes"] == evaluate(cartpole, episodes=2)["notes"] == []


def test_one_episode_has_no_standard_error(cartpole: Path) -> None:
    found = evaluate(cartpole, episodes=1)
    assert found["return_standard_error"] is None
    assert "±" not in describe(found)


def test_runs_side_by_side_play_by_their_own_parameters(tmp_path: Path) -> None:
    run = trained(tmp_path, CORRIDOR, "environment.independent=true", "environment.num_envs=3")
    found = evaluate(run, episodes=4, sampled=True)
    assert found["episodes"] == 6  # each plays as many as the others
    assert -5 <= found["return_minimum"] <= found["return_maximum"] <= -3


def test_episodes_that_are_cut_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path, WALK)
    assert "cut" not in evaluate(run, episodes=2, sampled=True)
    monkeypatch.setattr("framework.episodes.LONGEST", 2)  # three steps are the fewest
    found = evaluate(run, episodes=2, sampled=True)
    assert (found["cut"], found["length"]) == (1, 2)
    assert "  cut      100% of them after 10,000 steps: they had not ended" in describe(found)


def test_a_latent_run_has_the_metrics_of_its_summary(digits: Path) -> None:
    summary = json.loads((digits / "summary.json").read_text())
    found = {name: value for name, value in evaluate(digits).items() if name.startswith("test/")}
    assert {"test/objective_dynamic", "test/reconstruction_dynamic", "test/elbo_dynamic", "test/kl"} <= found.keys()
    assert found == {name: summary[name.removesuffix("_dynamic")] for name in found}


def test_the_weights_can_be_chosen(digits: Path) -> None:
    found = evaluate(digits, weights="best")
    assert found["weights"] == "best.ckpt"
    assert evaluate(digits)["weights"] == "last.ckpt"


def test_what_is_for_agents_is_refused_for_others(digits: Path) -> None:
    message = (
        r"learner latent learns from examples, and is judged on the test set: it plays no .*\n +found: +--episodes"
    )
    with pytest.raises(RecipeError, match=message):
        evaluate(digits, episodes=3, sampled=True)
    with pytest.raises(RecipeError, match=r"found: +--sampled\n"):
        evaluate(digits, sampled=True)


def test_what_is_for_examples_is_refused_for_agents(cartpole: Path) -> None:
    message = r"learner policy_gradient plays whole episodes, and has no examples\n +found: +--data --samples\n"
    with pytest.raises(RecipeError, match=message):
        evaluate(cartpole, data="test", samples=3)


def test_a_set_that_there_is_not_is_refused(digits: Path) -> None:
    message = (
        r"--data: there is no such set and no such file\n +found: +tests\n +expected: +train, validation, test, or"
    )
    with pytest.raises(RecipeError, match=message):
        evaluate(digits, data="tests")


def test_no_episodes_are_refused(cartpole: Path) -> None:
    with pytest.raises(RecipeError, match=r"--episodes: this value is refused\n +found: +0\n +expected: +1 or more"):
        evaluate(cartpole, episodes=0)


def test_the_command_prints_a_table_and_json(cartpole: Path) -> None:
    result = fw("evaluate", str(cartpole), "--episodes", "6", "--json")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    found = json.loads(last)
    assert found == evaluate(cartpole, episodes=6)
    assert lines[0].startswith(f"{cartpole}: last.ckpt, step ")
    assert lines[1] == "6 whole episodes, the likeliest actions, seed 0"
    error = f"{found['return']:.2f} ± {found['return_standard_error']:.2f} (standard error)"
    assert lines[2].startswith(f"  return   {error}, from ")


def test_a_run_that_is_not_there_ends_with_2_and_a_missing_checkpoint_with_74(cartpole: Path, tmp_path: Path) -> None:
    result = fw("evaluate", str(tmp_path))
    assert result.exit_code == 2
    assert "no run directory" in result.stderr
    (best := cartpole / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    result = fw("evaluate", str(cartpole), "--checkpoint", "best")
    assert result.exit_code == 74
    assert f"input/output: {best} cannot be read" in result.stderr
    assert fw("evaluate", str(cartpole), "--checkpoint", "first").exit_code == 2
