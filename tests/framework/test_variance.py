"""Bias and variance of policy-gradient estimators, against what can be counted out.

In the short corridor, cut after five steps, every pair of episodes has a known probability and a known estimate: the
variance, and the standard error of its own estimate, are sums over them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import Tensor
from typer.testing import CliRunner

from framework import Baseline, Samples, leave_one_out
from framework.cli import app
from framework.errors import RecipeError
from framework.markov import short_corridor
from framework.trajectories import enumerate_trajectories
from framework.variance import Comparison, Estimator, compare, describe
from tests.framework.small_runs import CARTPOLE, CORRIDOR, DIGITS, LAKE, contents, trained, written
from tests.framework.test_surrogate import agent_of

STEPS, ROLLOUTS = 5, 1_500
RIGHT = 1 / (1 + math.exp(-1.6))  # the probability in CORRIDOR


class Constant(Baseline):
    """b = a number: known, and unbiased."""

    def forward(self, samples: Samples) -> Tensor:
        return torch.full_like(samples.returns, -2.0)


class HalfOfItself(Baseline):
    """b = (G − level)/2, which halves the gradient: biased, however small its variance is."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, samples: Samples) -> Tensor:
        return (samples.returns - self.level) / 2


LEVEL = -2.8  # about the mean return in CORRIDOR, where half of the gradient then is 7.5 standard errors


def compared(
    folder: Path, recipe: str, *overrides: str, rollouts: int, level: float = 0.0
) -> tuple[Comparison, dict[str, Estimator]]:
    others = {"constant": Constant(), "half": HalfOfItself(level)}
    comparison = compare(agent_of(folder, recipe, *overrides), rollouts=rollouts, seed=1, others=others)
    return comparison, {one.name: one for one in comparison.estimators}


@pytest.fixture(scope="module")
def corridor(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Estimator]:
    return compared(tmp_path_factory.mktemp("corridor"), CORRIDOR, rollouts=ROLLOUTS, level=LEVEL)[1]


def pairs_of_episodes() -> tuple[Tensor, Tensor, Tensor]:
    """Return of each pair: the returns [pairs, 2, T], the slopes of log π [pairs, 2, T], and the probability [pairs].

    The gradient of log π to the two preferences is (−1, 1)·slope; steps that are none have the slope 0.
    """
    policy = torch.tensor([[1 - RIGHT, RIGHT]], dtype=torch.float64).expand(3, 2)
    returns, slopes, probabilities = [], [], []
    for one in enumerate_trajectories(short_corridor(), policy, STEPS):
        length = len(one.actions)
        row = [-sum(0.9**k for k in range(length - t)) for t in range(length)]
        returns.append(row + [0.0] * (STEPS - length))
        slopes.append([(1 - RIGHT if action else -RIGHT) for action in one.actions] + [0.0] * (STEPS - length))
        probabilities.append(one.probability)
    found = torch.tensor([returns, slopes], dtype=torch.float64)  # [2, trajectories, T]
    first, second = torch.tensor(list(product(range(len(returns)), repeat=2))).T
    both = torch.stack([found[:, first], found[:, second]], 2)  # [2, pairs, 2, T]
    chances = torch.tensor(probabilities, dtype=torch.float64)
    return both[0], both[1], chances[first] * chances[second]


def others_mean(returns: Tensor, slopes: Tensor) -> Tensor:
    """The other episode's return at the same time; 0 where it has ended."""
    return leave_one_out(returns.transpose(0, 1)).transpose(0, 1)


EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda returns, slopes: torch.zeros_like(returns),
    "constant": lambda returns, slopes: torch.full_like(returns, -2.0),
    "leave_one_out": others_mean,
    "half": lambda returns, slopes: (returns - LEVEL) / 2,
}


@pytest.mark.parametrize("name", EXACT)
def test_the_variance_is_that_over_all_pairs_of_episodes(corridor: dict[str, Estimator], name: str) -> None:
    returns, slopes, probability = pairs_of_episodes()
    assert float(probability.sum()) == pytest.approx(1)
    weight = 0.9 ** torch.arange(STEPS)
    estimate = (weight * (returns - EXACT[name](returns, slopes)) * slopes).sum(-1).mean(-1)  # [pairs]
    centred = estimate - probability @ estimate
    variance, fourth = float(probability @ centred**2), float(probability @ centred**4)
    # Of a sample variance, whose own variance is (μ₄ − σ⁴(R − 3)/(R − 1))/R. Two preferences with opposite gradients.
    error = math.sqrt((fourth - variance**2 * (ROLLOUTS - 3) / (ROLLOUTS - 1)) / ROLLOUTS)
    found = corridor[name]
    assert abs(found.variance - 2 * variance) < 4 * 2 * error
    assert 8 * error < 0.5 * 2 * variance  # which notices an estimator that is another
    assert found.standard_error == pytest.approx(math.sqrt(found.variance / ROLLOUTS))
    assert found.ratio == pytest.approx(found.variance / corridor["none"].variance)


def test_unbiased_estimators_agree_and_a_biased_one_is_found(corridor: dict[str, Estimator]) -> None:
    assert corridor["none"].z is None  # what the others are compared with
    for name, one in corridor.items():
        if name != "none":
            assert one.z is not None
            assert (one.z > 5) if name == "half" else (0 < one.z < 4), name


def test_a_table_is_compared_with_the_exact_gradient(tmp_path: Path) -> None:
    agent_goes_right_and_down = "policy={name: tabular_softmax, preferences: [-1.0, 0.5, 0.5, -0.5]}"
    comparison, found = compared(tmp_path, LAKE, agent_goes_right_and_down, rollouts=300)
    assert comparison.reference == "exact"
    for name, one in found.items():
        assert one.z is not None
        assert (one.z > 5) if name == "half" else (one.z < comparison.limit), name


def test_a_policy_of_cartpole(tmp_path: Path) -> None:
    comparison, found = compared(tmp_path, CARTPOLE, rollouts=60)
    assert comparison.reference == "none"
    assert comparison.parameters == 4 * 8 + 8 + 8 * 2 + 2
    assert (comparison.directions, comparison.episodes, comparison.rollouts) == (11, 4, 60)
    for name in ("moving_average", "time_dependent", "leave_one_out", "value (fitted)"):
        one = found[name]
        assert one.z is not None
        assert one.z < comparison.limit
        assert one.ratio is not None
        # Every step pays 1: there is a level to take off. The few episodes that are left late tell little of it.
        assert one.ratio < 0.8 or name == "leave_one_out"


def test_it_is_repeatable_and_leaves_the_agent_as_it_was(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CORRIDOR, "baseline=moving_average")
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    first = compare(agent, rollouts=10)
    assert compare(agent, rollouts=10) == first
    assert compare(agent, rollouts=10, seed=1) != first
    for name, value in agent.state_dict().items():
        assert torch.equal(value, before[name])


def test_one_environment_becomes_two(tmp_path: Path) -> None:
    comparison = compare(agent_of(tmp_path, CORRIDOR, "environment.num_envs=1"), rollouts=10)
    assert comparison.episodes == 2
    assert comparison.notes == ["two environments, for leave_one_out to have another one"]
    assert "note: two environments, for" in describe(comparison)


def test_where_nothing_is_ever_paid_there_is_no_ratio(tmp_path: Path) -> None:
    comparison = compare(agent_of(tmp_path, LAKE, "environment.max_episode_steps=2"), rollouts=10)
    assert [one.ratio for one in comparison.estimators] == [None] * 5
    assert [one.z for one in comparison.estimators] == [0.0] * 5  # exactly nothing is right
    assert comparison.directions == 10  # and the mean has no direction


def test_a_limit_is_bonferronis(tmp_path: Path) -> None:
    comparison = compare(agent_of(tmp_path, CORRIDOR), rollouts=10)
    count = 11 * 4  # four of five estimators are compared
    assert math.erfc(comparison.limit / math.sqrt(2)) * count == pytest.approx(0.01)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CORRIDOR)
    with pytest.raises(RecipeError, match=r"--rollouts: this value is refused\n +found: +9\n +expected: +10 or more"):
        compare(agent, rollouts=9)
    message = r"these environments are runs of their own\n(.*\n)+ +write: +environment\.independent=false"
    with pytest.raises(RecipeError, match=message):
        compare(agent_of(tmp_path, CORRIDOR, "environment.independent=true"), rollouts=10)


def fw(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_command_prints_a_table_draws_it_and_says_it_in_json(tmp_path: Path) -> None:
    out = tmp_path / "folder" / "bars.png"
    recipe = str(written(tmp_path, CORRIDOR))
    result = fw("variance", recipe, "discount=1.0", "--rollouts", "12", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    assert lines[0] == "corridor after 0 environment steps"
    assert lines[2].startswith("12 rollouts of 2 whole episodes, the same for all")
    assert [line.split()[0] for line in lines[5:10]] == [
        "none", "moving_average", "time_dependent", "leave_one_out", "value",
    ]  # fmt: skip
    assert f"figure: {out}" in lines
    assert out.read_bytes().startswith(b"\x89PNG")
    found = json.loads(last)
    assert (found["recipe"], found["env_steps"], found["rollouts"]) == ("corridor", 0, 12)
    assert found["estimators"][0]["ratio"] == 1


def test_of_a_run_the_figure_goes_into_its_figures(tmp_path: Path) -> None:
    run = trained(tmp_path, CORRIDOR)
    before = contents(run)
    result = fw("variance", str(run), "--rollouts", "10")
    assert result.exit_code == 0, result.output
    after = contents(run)
    assert after.keys() - before.keys() == {str(run / "figures" / "variance.png")}
    assert {name: after[name] for name in before} == before


def test_a_recipe_without_a_policy_gradient_ends_with_2(tmp_path: Path) -> None:
    result = fw("variance", str(written(tmp_path, DIGITS)))
    assert result.exit_code == 2
    assert "no estimator of a policy's gradient\n       found:    learner: latent\n" in result.stderr
    assert "       expected: learner: policy_gradient\n" in result.stderr
