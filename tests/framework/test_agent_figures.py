"""The pictures of learners that act: bands, values, arrows and bars are the right numbers, and nothing is left open."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from framework import agent_figures, canvas
from framework.agent_figures import draw_bandit, grid_of
from framework.dynamic_programming import policy_iteration, state_values
from framework.environment import Environment
from framework.figures import draw
from framework.learners.action_value import ActionValue
from framework.learners.policy_gradient import PolicyGradient
from framework.learners.value_iteration import ValueIteration
from framework.rollouts import Rollouts
from framework_plugins.optimizers.sgd import sgd
from framework_plugins.policies.epsilon_greedy import EpsilonGreedy
from framework_plugins.policies.tabular_softmax import TabularSoftmax
from framework_plugins.updates.reinforce import Reinforce


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    figures: list[Figure] = []

    def save(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return canvas.save(figure, path)

    monkeypatch.setattr(agent_figures, "save", save)
    return figures


def table(environment: Environment, **options: Any) -> ActionValue:
    return ActionValue(
        environment=environment, policy=EpsilonGreedy(epsilon=0.1), evaluation=None, discount=0.9, **options
    )


def tabular_policy(environment: Environment) -> PolicyGradient:
    replicas = environment.num_envs if environment.independent else 1
    return PolicyGradient(
        environment=environment,
        policy=TabularSoftmax(
            observation_space=environment.observation_space, action_space=environment.action_space, replicas=replicas
        ),
        update=Reinforce(),
        optimizer=lambda parameters: sgd(parameters, lr=0.1),
        evaluation=None,
        discount=1.0,
    )


def drawn(learner: Any, folder: Path) -> list[str]:
    rollouts = Rollouts(agent=learner, seed=0)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    names = [path.name for path in draw(learner, rollouts, folder)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)  # and no temporary file is left
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    return names


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def arrows(axes: Axes) -> dict[tuple[int, int], tuple[int, int]]:
    """Where arrows point to, right and down, by row and column."""
    found = {}
    for text in axes.texts:
        if isinstance(text, Annotation) and text.arrow_patch is not None:
            (x, y), (before, above) = text.xy, text.get_position()
            step = round((x - before) / 0.4), round((y - above) / 0.4)
            found[round((y + above) / 2 + 0.12), round((x + before) / 2)] = step
    return found


def test_bandit_has_two_curves_with_bands_of_95_percent(tmp_path: Path, saved: list[Figure]) -> None:
    records = [
        {"step": step, "train/reward": step / 2, "train/reward_standard_error": 0.5, "train/optimal": 0.25}
        for step in (1, 2, 3)
    ]
    for record in records[:2]:
        record["train/optimal_standard_error"] = 0.01
    records.append({"step": 3, "test/return": 1.0})
    assert draw_bandit(records, tmp_path) == tmp_path / "bandit.png"
    reward, optimal = saved[0].axes
    assert [axes.get_title(loc="left") for axes in (reward, optimal)] == ["average reward", "% optimal action"]
    assert np.asarray(reward.get_lines()[0].get_xydata()).tolist() == [[1, 0.5], [2, 1.0], [3, 1.5]]
    vertices = np.concatenate([path.vertices for path in reward.collections[0].get_paths()])
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == (0.5 - 0.98, 1.5 + 0.98)
    vertices = np.concatenate([path.vertices for path in optimal.collections[0].get_paths()])
    assert vertices[:, 0].max() == 2  # no band where there is no standard error
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == (0.25 - 0.0196, 0.25 + 0.0196)


@pytest.mark.parametrize("records", [[], [{"step": 1, "train/reward": 1.0}], [{"step": 1, "train/objective": 1.0}]])
def test_what_is_no_bandit_has_no_picture_of_one(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    assert draw_bandit(records, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_frozen_lake_shows_values_and_the_way_around_the_holes(tmp_path: Path, saved: list[Figure]) -> None:
    learner = ValueIteration(
        environment=Environment(id="FrozenLake-v1", kwargs={"is_slippery": False}), evaluation=None, discount=0.9
    )
    learner.values.copy_(state_values(learner.mdp, policy_iteration(learner.mdp)))
    assert drawn(learner, tmp_path) == ["values.png"]
    axes = saved[0].axes[0]
    found = arrows(axes)
    holes = {(1, 1), (1, 3), (2, 3), (3, 0)}
    assert len(found) == 16 - len(holes) - 1
    assert {place for place in np.ndindex(4, 4) if place not in found} == {*holes, (3, 3)}
    row = column = length = 0  # along the arrows, which is the shortest way: six steps
    while (row, column) != (3, 3):
        right, down = found[row, column]
        row, column, length = row + down, column + right, length + 1
        assert length <= 6
    assert length == 6
    labels = texts(axes)
    assert labels.count("hole") == 4
    assert labels.count("goal") == 1
    assert {"0.59", "1.00"} <= set(labels)  # 0.9^5 at the start, and before the goal
    shown: Any = np.ma.asarray(axes.images[0].get_array()).filled(np.nan)
    assert shown[0, 0] == pytest.approx(0.9**5, rel=1e-12)
    assert np.isnan(shown[1, 1])


def test_cliff_has_its_shape_and_directions(tmp_path: Path, saved: list[Figure]) -> None:
    environment = Environment(id="CliffWalking-v1", num_envs=2, independent=True)
    learner = table(environment)
    learner.values.fill_(-10.0)
    for state, action in ((36, 0), (24, 1), (35, 2)):  # up from the start, right along the cliff, down to the goal
        learner.values[0, state, action] = -4.0
        learner.values[1, state, action] = -2.0
    assert drawn(learner, tmp_path) == ["values.png"]
    axes = saved[0].axes[0]
    found = arrows(axes)
    assert (found[3, 0], found[2, 0], found[2, 11]) == ((0, -1), (1, 0), (0, 1))
    assert len(found) == 48 - 11
    labels = texts(axes)
    assert (labels.count("cliff"), labels.count("goal"), labels.count("S")) == (10, 1, 1)
    assert labels.count("−3.0") == 3  # the mean table of the two runs
    assert axes.get_title(loc="left").endswith("the mean table of 2 runs")


@pytest.mark.parametrize("name", ["FrozenLake-v1", "CliffWalking-v1"])
def test_actions_lead_where_the_arrows_say(name: str) -> None:
    """Against the table of transitions of the environment itself."""
    environment = Environment(id=name, kwargs={"is_slippery": False})
    grid = grid_of(environment)
    assert grid is not None
    one: Any = environment.make_one().unwrapped
    columns = grid.names.shape[1]
    state = columns + 1 if name == "CliffWalking-v1" else 2 * columns + 1  # all four neighbours exist
    for action, (right, down) in enumerate(grid.steps):
        ((_, following, _, _),) = one.P[state][action]
        assert following == state + right + columns * down
    for place, letter in np.ndenumerate(grid.names):
        following = place[0] * columns + place[1]
        ends = {
            end for choices in one.P.values() for outcome in choices.values() for _, s, _, end in outcome
            if s == following
        }  # fmt: skip
        assert (letter in ("G", "H")) == (ends == {True}) or letter == "C", "terminal states are goal and holes"
        if letter == "C":
            assert ends == set(), "who falls is put back to the start"


def test_a_table_that_is_no_grid_has_bars(tmp_path: Path, saved: list[Figure]) -> None:
    learner = ValueIteration(environment=Environment(id="Taxi-v3"), evaluation=None, discount=0.9)
    learner.values.copy_(torch.arange(500).double())
    assert drawn(learner, tmp_path) == ["values.png"]
    bars = [one for one in saved[0].axes[0].patches if isinstance(one, Rectangle)]
    assert [bar.get_height() for bar in bars] == list(range(500))


def test_policy_is_the_mean_of_independent_runs(tmp_path: Path, saved: list[Figure]) -> None:
    environment = Environment(
        id="FrozenLake-v1", num_envs=2, independent=True, max_episode_steps=20, kwargs={"is_slippery": True}
    )
    learner = tabular_policy(environment)
    assert isinstance(learner.policy, TabularSoftmax)
    with torch.no_grad():
        learner.policy.preferences[0, 3] = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    assert drawn(learner, tmp_path) == ["policy.png"]
    panels = saved[0].axes
    assert len(panels) == 16
    heights = [patch.get_height() for patch in panels[3].patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(heights, [0.375, 0.25, 0.1875, 0.1875], rtol=1e-6)  # float32, with ¼ each of run 2
    assert saved[0].get_suptitle() == "π(a|s), mean of 2 runs"


def test_no_picture_of_a_policy_with_too_many_states_or_of_a_bandits_table(tmp_path: Path) -> None:
    assert drawn(tabular_policy(Environment(id="Taxi-v3")), tmp_path) == []
    bandit = Environment(id="fw/KArmedTestbed-v0", num_envs=2, independent=True)
    assert drawn(table(bandit), tmp_path) == []


def test_no_picture_of_the_mean_policy_of_bandits_with_arms_of_their_own(tmp_path: Path) -> None:
    bandit = Environment(id="fw/KArmedTestbed-v0", num_envs=2, independent=True)
    assert drawn(tabular_policy(bandit), tmp_path) == []
    corridor = Environment(id="fw/ShortCorridor-v0", num_envs=2, independent=True)  # the same for all runs
    assert drawn(tabular_policy(corridor), tmp_path) == ["policy.png"]


def test_same_pictures_at_each_call_and_nothing_left_open(tmp_path: Path) -> None:
    learner = table(Environment(id="FrozenLake-v1"))
    pictures, rollouts = [], Rollouts(agent=learner, seed=0)
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(2):
            (path,) = draw(learner, rollouts, tmp_path)
            pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_draws_without_pyplot() -> None:
    program = "import sys, framework.agent_figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    source = str(Path(agent_figures.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", program], cwd=source, check=False).returncode == 0
