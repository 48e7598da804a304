"""The trunk of fully connected layers."""

from __future__ import annotations

import math
from typing import cast

import gymnasium
from torch import Tensor, nn

from framework import Features, Trunk, register_trunk
from framework.networks import Activation, initialize_orthogonally, mlp


@register_trunk("mlp")
class MLPTrunk(Trunk):
    """A multilayer perceptron on the observation's features, each layer activated.

    Args:
        observation_space: what is observed.
        hidden: units of each layer; the last is F.
        activation: the non-linearity after each.

    Raises:
        OptionError: a layer without units, an observation without features.

    Example:
        >>> import torch
        >>> trunk = MLPTrunk(observation_space=gymnasium.spaces.Discrete(4), hidden=[8, 6])
        >>> trunk(torch.tensor([[0, 3, 1]])).shape
        torch.Size([1, 3, 6])
    """

    def __init__(
        self, *, observation_space: gymnasium.Space[object], hidden: list[int], activation: Activation = "tanh"
    ) -> None:
        super().__init__()
        self.inputs = Features(observation_space)
        self.layers = mlp(self.inputs.features, hidden, activation=activation)
        self.features = [self.inputs.features, *hidden][-1]
        initialize_orthogonally(self.layers, gain=math.sqrt(2))

    def forward(self, observation: Tensor) -> Tensor:
        features = self.inputs(observation)
        if len(self.layers):
            features = features.to(cast(nn.Linear, self.layers[0]).weight.dtype)
        activated: Tensor = self.layers(features)
        return activated

    def chain(self) -> list[nn.Module] | None:
        return list(self.layers) if self.inputs.are_observations else None
