"""The policy over switches."""

from __future__ import annotations

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary

from framework import BernoulliLogits, OptionError
from framework_plugins.policies.bernoulli import BernoulliPolicy

BOX = Box(-1.0, 1.0, (4,))


@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=str)
def test_its_switches_are_a_linear_layers(shape: tuple[int, ...]) -> None:
    policy = BernoulliPolicy(observation_space=BOX, action_space=MultiBinary(shape), head_scale=1.0)
    observation = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    pi = policy(observation)
    assert isinstance(pi, BernoulliLogits)
    assert (pi.batch_shape, pi.event_shape) == ((5,), shape)
    assert torch.equal(pi.logits.flatten(1), policy.head(observation))


def test_another_action_space_is_told_its_policy() -> None:
    with pytest.raises(OptionError) as raised:
        BernoulliPolicy(observation_space=BOX, action_space=Discrete(2))
    assert str(raised.value) == (
        "action_space: expected a MultiBinary space, found Discrete(2); write policy: {name: categorical}"
    )
