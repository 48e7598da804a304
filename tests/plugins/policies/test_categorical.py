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


@pytest.mark.parametrize("hidden", [None, [8, 8]], ids=["linear", "mlp"])
def test_its_sampler_draws_from_the_distribution(hidden: list[int] | None) -> None:
    torch.manual_seed(0)
    trunk = None if hidden is None else MLPTrunk(observation_space=BOX, hidden=hidden)
    policy = CategoricalPolicy(observation_space=BOX, action_space=Discrete(3), trunk=trunk, head_scale=2.0)
    sampler = policy.sampler()
    assert sampler is not None
    observations = torch.rand(2, 4)
    probs = policy(observations).probs.detach()  # [2, 3]
    assert probs.min() > 0.02
    draws = sampler(observations.repeat(20_000, 1)).view(-1, 2)  # [draws, 2]
    assert draws.dtype == torch.int64
    for of_one, expected in zip(draws.T, probs, strict=True):
        found = torch.bincount(of_one, minlength=3)
        # χ² of 2 degrees of freedom is above 13.8 once in a thousand times.
        assert ((found - 20_000 * expected).square() / (20_000 * expected)).sum() < 13.8


def test_its_sampler_is_a_function_of_torchs_generator_and_follows_the_parameters() -> None:
    policy = CategoricalPolicy(observation_space=BOX, action_space=Discrete(3))
    sampler = policy.sampler()
    assert sampler is not None
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(sampler(torch.ones(50, 4)))
    assert torch.equal(*found)
    assert len(found[0].unique()) == 3
    with torch.no_grad():
        policy.head.linear.bias[1] = 100.0
    assert (sampler(torch.ones(50, 4)) == 1).all()


@pytest.mark.parametrize(
    ("observed", "actions", "trunk"),
    [
        (Discrete(4), Discrete(3), None),
        (Box(-1.0, 1.0, (2, 2)), Discrete(3), None),
        (Discrete(4), Discrete(3), MLPTrunk(observation_space=Discrete(4), hidden=[8])),
        (BOX, Discrete(3), MLPTrunk(observation_space=BOX, hidden=[8], activation="elu")),
        (BOX, MultiDiscrete([3, 2]), None),
    ],
    ids=["discrete", "square", "trunk", "elu", "choices"],
)
def test_without_a_function_of_arrays_it_has_no_sampler(
    observed: gymnasium.Space[Any], actions: gymnasium.Space[Any], trunk: MLPTrunk | None
) -> None:
    policy = CategoricalPolicy(observation_space=observed, action_space=actions, trunk=trunk)
    assert policy.sampler() is None
