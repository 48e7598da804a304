"""The policy over discrete actions."""

from __future__ import annotations

import doctest
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text

from framework import CategoricalLogits, MultiCategorical, OptionError
from framework_plugins.policies import categorical
from framework_plugins.policies.categorical import CategoricalPolicy
from framework_plugins.trunks.mlp import MLPTrunk

BOX = Box(-1.0, 1.0, (4,))


def test_its_logits_are_a_linear_layer_on_the_trunk() -> None:
    trunk = MLPTrunk(observation_space=BOX, hidden=[8])
    policy = CategoricalPolicy(observation_space=BOX, action_space=Discrete(3), trunk=trunk, head_scale=2.0)
    observation = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    pi = policy(observation)
    assert isinstance(pi, CategoricalLogits)
    expected = trunk(observation) @ policy.head.linear.weight.t() + policy.head.linear.bias
    torch.testing.assert_close(pi.probs, expected.softmax(-1), rtol=1e-5, atol=1e-6)  # float32


def test_several_choices_have_a_softmax_each() -> None:
    policy = CategoricalPolicy(observation_space=BOX, action_space=MultiDiscrete([3, 2]), head_scale=1.0)
    pi = policy(torch.ones(5, 4))
    assert isinstance(pi, MultiCategorical)
    assert pi.sizes == (3, 2)
    assert policy.head.linear.out_features == 5


def test_at_first_all_actions_are_nearly_equally_likely() -> None:
    torch.manual_seed(0)
    policy = CategoricalPolicy(observation_space=BOX, action_space=Discrete(4))
    probs = policy(2 * torch.rand(100, 4) - 1).probs
    assert (probs - 0.25).abs().max() < 0.01  # logits are at most 0.01 · |observation| ≤ 0.02


@pytest.mark.parametrize(
    ("space", "rest"),
    [
        (Box(-1.0, 1.0, (2,)), "; write policy: {name: gaussian}"),
        (MultiBinary(3), "; write policy: {name: bernoulli}"),
        (Text(3), "; write an environment with another action space"),
    ],
    ids=str,
)
def test_another_action_space_is_told_its_policy(space: gymnasium.Space[Any], rest: str) -> None:
    with pytest.raises(OptionError) as raised:
        CategoricalPolicy(observation_space=BOX, action_space=space)
    assert str(raised.value) == f"action_space: expected a Discrete or MultiDiscrete space, found {space}{rest}"


@pytest.mark.parametrize("space", [Discrete(2, start=1), MultiDiscrete([2, 3], start=[0, 1])], ids=str)
def test_actions_are_counted_from_zero(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(OptionError) as raised:
        CategoricalPolicy(observation_space=BOX, action_space=space)
    assert str(raised.value) == (
        f"action_space: expected actions counted from 0, found {space}; "
        "write a wrapper of the environment that counts them so, registered with register_wrapper"
    )


def test_choices_in_a_table_are_refused() -> None:
    space = MultiDiscrete([[2, 3], [4, 5]])
    with pytest.raises(OptionError) as raised:
        CategoricalPolicy(observation_space=BOX, action_space=space)
    assert str(raised.value) == f"action_space: expected a MultiDiscrete space of one dimension, found {space}"


def test_the_examples_run() -> None:
    results = doctest.testmod(categorical, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0
