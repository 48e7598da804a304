"""The last layer of a policy."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from framework import OptionError
from framework_plugins.policies.head import Head
from framework_plugins.trunks.mlp import MLPTrunk


def test_without_a_trunk_it_is_linear_in_the_features() -> None:
    head = Head(observation_space=Discrete(3), trunk=None, outputs=2, scale=1.0)
    assert torch.equal(head(torch.tensor([2, 0])), head.linear.weight.t()[[2, 0]])  # the bias is zero


def test_the_last_layer_is_orthogonal_of_the_given_gain() -> None:
    trunk = MLPTrunk(observation_space=Box(-1, 1, (3,)), hidden=[16])
    head = Head(observation_space=Box(-1, 1, (3,)), trunk=trunk, outputs=4, scale=0.01)
    weight = head.linear.weight
    torch.testing.assert_close(weight @ weight.t(), 1e-4 * torch.eye(4), atol=1e-10, rtol=0)  # 1e-6 of 1e-4
    assert not head.linear.bias.any()


def test_doubles_of_an_environment_meet_single_weights() -> None:
    head = Head(observation_space=Box(-1, 1, (3,)), trunk=None, outputs=2, scale=1.0)
    assert head(torch.zeros(5, 3, dtype=torch.float64)).dtype == torch.float32
    assert head.double()(torch.zeros(5, 3)).dtype == torch.float64


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_is_not_positive(scale: float) -> None:
    with pytest.raises(OptionError, match=rf"^head_scale: expected a positive number, found {scale}$"):
        Head(observation_space=Discrete(3), trunk=None, outputs=2, scale=scale)
