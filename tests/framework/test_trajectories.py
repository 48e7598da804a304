"""The enumerated trajectories: their probabilities, their course, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from framework import OptionError
from framework.dynamic_programming import state_values
from framework.markov import short_corridor
from framework.trajectories import Trajectory, enumerate_trajectories
from tests.framework.finite_processes import chain, random_logits, random_process


def test_a_chains_trajectories_are_those_written_by_hand() -> None:
    mdp = chain((5.0, 1), (7.0, None))  # starts in either state
    policy = torch.tensor([[0.75, 0.25], [1.0, 0.0]])
    found = sorted(enumerate_trajectories(mdp, policy, 2), key=lambda one: one.states + one.actions)
    assert found == [
        Trajectory(0.5 * 0.25, (0,), (1,), (-1.0,), None),
        Trajectory(0.5 * 0.75, (0, 1), (0, 0), (5.0, 7.0), None),
        Trajectory(0.5, (1,), (0,), (7.0,), None),
    ]


def test_a_horizon_cuts_a_trajectory_where_it_is() -> None:
    mdp = chain((5.0, 1), (7.0, None))
    always_on = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert sorted(enumerate_trajectories(mdp, always_on, 1), key=lambda one: one.states) == [
        Trajectory(0.5, (0,), (0,), (5.0,), 1),
        Trajectory(0.5, (1,), (0,), (7.0,), None),
    ]


@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_probabilities_sum_to_1_and_courses_are_possible(horizon: int) -> None:
    mdp = random_process(0, states=3, actions=2)
    policy = random_logits(0, mdp).softmax(1)
    found = list(enumerate_trajectories(mdp, policy, horizon))
    assert len({(one.states, one.actions, one.final) for one in found}) == len(found)
    # Every course of this process is possible: S·A ways for each step, those that go on times S, and the ends.
    assert len(found) == sum(6**length for length in range(1, horizon + 1)) + 3 * 6**horizon
    assert sum(one.probability for one in found) == pytest.approx(1.0, abs=1e-12)
    for one in found:
        assert one.final is None or len(one.states) == horizon
        assert list(one.rewards) == [mdp.rewards[s, a].item() for s, a in zip(one.states, one.actions, strict=True)]
        factors = [mdp.start[one.states[0]], *(policy[s, a] for s, a in zip(one.states, one.actions, strict=True))]
        ahead = [*one.states[1:], one.final]
        for state, action, following in zip(one.states, one.actions, ahead, strict=True):
            last = following is None
            factors.append(mdp.termination[state, action] if last else mdp.transitions[state, action, following])
        assert one.probability == pytest.approx(math.prod(float(factor) for factor in factors), rel=1e-12)


def test_a_policy_that_never_ends_has_trajectories_too() -> None:
    only_left = torch.tensor([[1.0, 0.0]] * 3)
    (stuck,) = enumerate_trajectories(short_corridor(), only_left, 7)
    assert stuck == Trajectory(1.0, (0,) * 7, (0,) * 7, (-1.0,) * 7, 0)
    with pytest.raises(OptionError, match="goes on for ever"):
        state_values(short_corridor(), only_left)


def test_a_horizon_without_a_step_and_another_processs_policy_are_refused_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        enumerate_trajectories(short_corridor(), torch.full((3, 2), 0.5), 0)
    assert str(caught.value) == "horizon: expected a positive number of steps, found 0"
    with pytest.raises(OptionError) as caught:
        enumerate_trajectories(short_corridor(), torch.full((2, 2), 0.5), 1)
    assert str(caught.value) == "policy: expected [S, A], [3, 2], found [2, 2]"
