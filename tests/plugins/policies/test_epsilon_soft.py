"""A floor under the probabilities of another policy."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor
from torch.autograd import gradcheck

from framework import IncompatibleParts, OptionError
from framework_plugins.policies.categorical import CategoricalPolicy
from framework_plugins.policies.epsilon_greedy import EpsilonGreedy
from framework_plugins.policies.epsilon_soft import EpsilonSoft
from framework_plugins.policies.gaussian import GaussianPolicy
from framework_plugins.policies.tabular_softmax import TabularSoftmax

SEEN, ACTIONS = Discrete(3), Discrete(4)


def tabular(preferences: list[float]) -> TabularSoftmax:
    return TabularSoftmax(observation_space=SEEN, action_space=ACTIONS, preferences=preferences)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_it_is_the_mixture(epsilon: float) -> None:
    inner = tabular([0.0, 1.0, -2.0, 0.5])
    observation = torch.tensor([0, 2])
    found = EpsilonSoft(action_space=ACTIONS, of=inner, epsilon=epsilon)(observation).probs
    expected = (1 - epsilon) * inner(observation).probs + epsilon / 4
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # float32


def test_the_short_corridors_floor() -> None:
    inner = TabularSoftmax(observation_space=SEEN, action_space=Discrete(2), preferences=[100.0, 0.0])
    pi = EpsilonSoft(action_space=Discrete(2), of=inner, epsilon=0.1)(torch.tensor([0]))
    torch.testing.assert_close(pi.probs, torch.tensor([[0.95, 0.05]]), rtol=1e-6, atol=0)  # float32
    torch.testing.assert_close(pi.log_prob(torch.tensor([1])), torch.tensor([0.05]).log(), rtol=1e-6, atol=0)


def test_gradients_are_the_mixtures_and_finite_where_the_inner_one_is_sure() -> None:
    preferences = torch.tensor([[[0.0, 1.0, -2.0, 0.5]]], dtype=torch.float64, requires_grad=True)
    policy = EpsilonSoft(action_space=ACTIONS, of=tabular([0.0] * 4), epsilon=0.2)

    def densities(table: Tensor) -> Tensor:
        name = {"of.preferences": table.expand(1, 3, 4)}
        pi = torch.func.functional_call(policy, name, torch.zeros(4, dtype=torch.int64))
        return pi.log_prob(torch.arange(4))

    assert gradcheck(densities, preferences)
    sure = EpsilonSoft(action_space=ACTIONS, of=tabular([0.0, 2000.0, 0.0, 0.0]), epsilon=0.2)
    pi = sure(torch.tensor([0]))
    (pi.log_prob(torch.tensor([2])) + pi.entropy()).sum().backward()
    assert bool(sure.of.preferences.grad.isfinite().all())


@pytest.mark.parametrize("epsilon", [-0.1, 1.0])
def test_no_share(epsilon: float) -> None:
    with pytest.raises(OptionError, match=rf"^epsilon: expected a share in \[0, 1\), found {epsilon}$"):
        EpsilonSoft(action_space=ACTIONS, of=tabular([0.0] * 4), epsilon=epsilon)


def test_a_rule_of_values_is_no_policy_to_mix() -> None:
    with pytest.raises(OptionError) as raised:
        EpsilonSoft(action_space=ACTIONS, of=EpsilonGreedy(epsilon=0.1), epsilon=0.1)
    assert str(raised.value) == "of: expected a policy of observations, not a rule of values, found EpsilonGreedy"


def test_actions_that_are_not_one_discrete_choice() -> None:
    space = MultiDiscrete([2, 2])
    inner = CategoricalPolicy(observation_space=SEEN, action_space=space)
    with pytest.raises(OptionError, match=r"^action_space: expected a Discrete space, found MultiDiscrete"):
        EpsilonSoft(action_space=space, of=inner, epsilon=0.1)


def test_another_distribution_is_found_when_it_comes() -> None:
    inner = GaussianPolicy(observation_space=SEEN, action_space=Box(-1.0, 1.0, (1,)), squash=True)
    policy = EpsilonSoft(action_space=ACTIONS, of=inner, epsilon=0.1)
    with pytest.raises(IncompatibleParts) as raised:
        policy(torch.tensor([0]))
    assert str(raised.value) == "of: expected a policy that returns a CategoricalLogits, found SquashedGaussian"
