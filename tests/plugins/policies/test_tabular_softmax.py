"""The policy of preferences in a table."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from framework import OptionError
from framework_plugins.policies import tabular_softmax
from framework_plugins.policies.tabular_softmax import TabularSoftmax

STATES, ACTIONS = Discrete(4, start=-1), Discrete(3)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)], ids=str)
def test_each_state_has_its_row(batch: tuple[int, ...]) -> None:
    policy = TabularSoftmax(observation_space=STATES, action_space=ACTIONS)
    assert policy.preferences.shape == (1, 4, 3)
    assert not policy.preferences.any()
    policy.preferences.data.copy_(numbers(1, 4, 3))
    observation = torch.randint(-1, 3, batch, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor([policy.preferences[0, one + 1].softmax(-1).tolist() for one in observation.flatten()])
    torch.testing.assert_close(policy(observation).probs.reshape(-1, 3), expected, rtol=1e-6, atol=1e-6)  # float32


@pytest.mark.parametrize("batch", [(), (6,), (2, 3)], ids=str)
def test_each_run_has_its_table(batch: tuple[int, ...]) -> None:
    policy = TabularSoftmax(observation_space=STATES, action_space=ACTIONS, replicas=5)
    policy.preferences.data.copy_(numbers(5, 4, 3))
    observation = torch.randint(-1, 3, (*batch, 5), generator=torch.Generator().manual_seed(1))
    pi = policy(observation)
    assert pi.batch_shape == (*batch, 5)
    for run in range(5):
        expected = policy.preferences[run][observation[..., run] + 1].softmax(-1)
        torch.testing.assert_close(pi.probs[..., run, :], expected, rtol=1e-6, atol=1e-6)  # float32
    # a run's gradient is its own
    (gradient,) = torch.autograd.grad(pi.log_prob(pi.sample())[..., 2].sum(), policy.preferences)
    assert gradient.flatten(1).any(1).tolist() == [False, False, True, False, False]


def test_the_gradient_of_the_log_probability_is_the_books() -> None:
    # ∂ ln π(a|s)/∂H(s, b) = [a = b] − π(b|s), and 0 in other states (Sutton & Barto, 2.12 and 13.9)
    policy = TabularSoftmax(observation_space=STATES, action_space=ACTIONS).double()
    policy.preferences.data.copy_(numbers(1, 4, 3).double())
    pi = policy(torch.tensor(1))
    (gradient,) = torch.autograd.grad(pi.log_prob(torch.tensor(2)), policy.preferences)
    expected = torch.zeros(1, 4, 3, dtype=torch.float64)
    expected[0, 2] = torch.tensor([0.0, 0.0, 1.0]) - pi.probs
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_preferences_are_every_states_and_every_runs() -> None:
    # the short corridor's start: right with probability .05
    policy = TabularSoftmax(
        observation_space=Discrete(2), action_space=Discrete(2), preferences=[math.log(19), 0.0], replicas=3
    )
    probs = policy(torch.tensor([[0, 1, 0], [1, 0, 1]])).probs
    torch.testing.assert_close(probs, torch.tensor([0.95, 0.05]).expand(2, 3, 2), rtol=1e-6, atol=0)  # float32


def test_observations_that_are_no_states() -> None:
    space = Box(-1.0, 1.0, (2,))
    with pytest.raises(OptionError) as raised:
        TabularSoftmax(observation_space=space, action_space=ACTIONS)
    assert str(raised.value) == (
        "observation_space: expected a Discrete space, a row of the table for each observation, "
        f"found {space}; write policy: {{name: categorical}}"
    )


def test_actions_that_are_not_discrete() -> None:
    space = Box(-1.0, 1.0, (2,))
    with pytest.raises(OptionError) as raised:
        TabularSoftmax(observation_space=STATES, action_space=space)
    assert str(raised.value) == (
        f"action_space: expected a Discrete space, found {space}; write policy: {{name: gaussian}}"
    )


@pytest.mark.parametrize("preferences", [[], [0.0, 1.0]], ids=str)
def test_not_as_many_preferences_as_actions(preferences: list[float]) -> None:
    with pytest.raises(OptionError) as raised:
        TabularSoftmax(observation_space=STATES, action_space=ACTIONS, preferences=preferences)
    assert str(raised.value) == f"preferences: expected a number for each of 3 actions, found {preferences}"


def test_the_examples_run() -> None:
    results = doctest.testmod(tabular_softmax, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    ("preferences", "floor", "expected"),
    [
        ([-9.0, 9.0], 0.05, [0.05, 0.95]),
        ([math.log(0.3), math.log(0.7)], 0.05, [0.3, 0.7]),  # above it nothing changes
        ([math.log(0.01), math.log(0.39), math.log(0.6)], 0.1, [0.1, 0.1 + 0.7 * 0.29 / 0.79, 0.1 + 0.7 * 0.5 / 0.79]),
    ],
    ids=["beyond", "above", "shared out"],
)
def test_a_floor_under_the_probabilities(preferences: list[float], floor: float, expected: list[float]) -> None:
    policy = TabularSoftmax(
        observation_space=Discrete(1),
        action_space=Discrete(len(preferences)),
        preferences=preferences,
        floor=floor,
    ).double()
    pi = policy(torch.tensor(0))
    torch.testing.assert_close(pi.probs, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)  # float32 preferences
    # What has run too far is brought back: the gradient is the softmax's at these probabilities.
    (gradient,) = torch.autograd.grad(pi.log_prob(torch.tensor(0)), policy.preferences)
    one_hot = torch.eye(len(preferences))[0]
    torch.testing.assert_close(gradient[0, 0], one_hot - torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("floor", [-0.1, 0.5])
def test_a_floor_out_of_range(floor: float) -> None:
    with pytest.raises(OptionError, match=rf"^floor: expected a probability in \[0, 1/2\), found {floor}$"):
        TabularSoftmax(observation_space=Discrete(1), action_space=Discrete(2), floor=floor)
