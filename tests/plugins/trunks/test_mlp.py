"""The trunk of fully connected layers."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from torch import nn

from framework import OptionError
from framework_plugins.trunks import mlp
from framework_plugins.trunks.mlp import MLPTrunk

BOX = Box(-1.0, 1.0, (2, 3))


def test_its_layers_are_activated_one_after_the_other() -> None:
    trunk = MLPTrunk(observation_space=BOX, hidden=[5, 4])
    first, second = (layer for layer in trunk.modules() if isinstance(layer, nn.Linear))
    observation = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.tanh(second(torch.tanh(first(observation.flatten(1)))))
    assert torch.equal(trunk(observation), expected)
    assert trunk.features == 4


def test_its_layers_are_orthogonal_of_gain_root_two() -> None:
    trunk = MLPTrunk(observation_space=BOX, hidden=[8, 4])
    for layer in trunk.modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight if layer.out_features < layer.in_features else layer.weight.t()
            torch.testing.assert_close(weight @ weight.t(), 2 * torch.eye(len(weight)), atol=1e-5, rtol=0)  # float32
            assert not layer.bias.any()


def test_options_reach_the_layers() -> None:
    trunk = MLPTrunk(observation_space=Discrete(3), hidden=[4], activation="relu")
    assert [type(layer) for layer in trunk.layers] == [nn.Linear, nn.ReLU]


def test_without_layers_it_is_the_observations_features() -> None:
    trunk = MLPTrunk(observation_space=Discrete(3), hidden=[])
    assert trunk(torch.tensor([2])).tolist() == [[0, 0, 1]]
    assert trunk.features == 3


def test_doubles_of_an_environment_meet_single_weights() -> None:
    trunk = MLPTrunk(observation_space=Box(-1.0, 1.0, (3,), dtype=np.float64), hidden=[4])
    assert trunk(torch.zeros(5, 3, dtype=torch.float64)).dtype == torch.float32


def test_an_observation_without_features() -> None:
    with pytest.raises(
        OptionError, match=r"^observation_space: expected a Discrete, MultiDiscrete, MultiBinary or Box"
    ):
        MLPTrunk(observation_space=Dict({"a": Discrete(2)}), hidden=[4])


def test_the_examples_run() -> None:
    results = doctest.testmod(mlp, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0
