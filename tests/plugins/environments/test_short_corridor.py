"""The corridor against the book: each transition, and the value of going right with probability p."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from framework_plugins.environments.short_corridor import LEFT, RIGHT, ShortCorridor, ShortCorridorVectorEnv

# Actions that lead from the start to a state, an action, and where that leads.
TRANSITIONS = [
    ([], RIGHT, 1),
    ([], LEFT, 0),  # the wall
    ([RIGHT], RIGHT, 0),  # switched
    ([RIGHT], LEFT, 2),
    ([RIGHT, LEFT], RIGHT, 3),  # the goal
    ([RIGHT, LEFT], LEFT, 1),
]


@pytest.mark.parametrize(("way", "action", "state"), TRANSITIONS)
def test_each_transition(way: list[int], action: int, state: int) -> None:
    corridor, corridors = ShortCorridor(observe_state=True), ShortCorridorVectorEnv(num_envs=1, observe_state=True)
    assert corridor.reset(seed=0) == (0, {})
    assert corridors.reset(seed=0)[0].tolist() == [0]
    for step in way:
        corridor.step(np.int64(step))
        corridors.step(np.array([step]))
    assert corridor.step(np.int64(action)) == (state, -1.0, state == 3, False, {})  # −1 also into the goal
    observations, rewards, terminations, truncations, infos = corridors.step(np.array([action]))
    assert (observations.tolist(), rewards.tolist(), infos) == ([state], [-1.0], {})
    assert (terminations.tolist(), truncations.tolist()) == ([state == 3], [False])


@pytest.mark.parametrize(("way", "action", "state"), TRANSITIONS)
def test_the_states_look_alike(way: list[int], action: int, state: int) -> None:
    corridor = ShortCorridor()
    assert corridor.observation_space == gymnasium.spaces.Discrete(1)
    seen = [corridor.reset(seed=0)[0], *(corridor.step(np.int64(step))[0] for step in [*way, action])]
    assert seen == [0] * len(seen)
    assert corridor.state == state


def test_after_the_goal_comes_a_reset() -> None:
    corridor = ShortCorridor()
    corridor.reset(seed=0)
    for action in (RIGHT, LEFT, RIGHT):
        corridor.step(np.int64(action))
    with pytest.raises(ResetNeeded):
        corridor.step(np.int64(RIGHT))


def test_the_values_of_the_table() -> None:
    """The formula is the solution of v₀ = −1 + p v₁ + (1 − p) v₀ and its two like."""
    for p, expected in ((0.05, -82.105), (2 - math.sqrt(2), -(6 + 4 * math.sqrt(2))), (0.95, -44.211)):
        kept = np.array([[1 - p, p, 0], [p, 0, 1 - p], [0, 1 - p, 0]])  # among the three states, by right's probability
        assert np.linalg.solve(np.eye(3) - kept, -np.ones(3))[0] == pytest.approx(expected, abs=5e-4)
        assert (2 * p - 4) / (p * (1 - p)) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("p", [0.05, 0.3, 2 - math.sqrt(2), 0.95])
def test_the_return_of_going_right_with_probability_p(p: float) -> None:
    episodes = 4000
    corridors = ShortCorridorVectorEnv(num_envs=episodes)
    corridors.reset(seed=0)
    chance = np.random.default_rng(0)
    returns, going = np.zeros(episodes), np.ones(episodes, dtype=np.bool_)
    while going.any():  # the first episode of each, however long: leaving out the longest would bias the mean
        actions = np.where(chance.random(episodes) < p, RIGHT, LEFT)
        _, rewards, terminations, _, _ = corridors.step(actions)
        returns += np.where(going, rewards, 0.0)
        going &= ~terminations
    z = (returns.mean() - (2 * p - 4) / (p * (1 - p))) / (returns.std() / math.sqrt(episodes))
    assert abs(z) < 4
