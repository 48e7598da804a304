"""The convolutional trunk."""

from __future__ import annotations

import math
from typing import cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from torch import Tensor, nn

from framework import OptionError, Trunk, register_trunk
from framework.networks import Activation, conv, conv_features, initialize_orthogonally, mlp


@register_trunk("conv")
class ConvTrunk(Trunk):
    """Convolutions of stride 2 on images; each layer halves the sides, rounding up. Bytes are divided by 255.

    Args:
        observation_space: a Box of shape (rows, columns, channels), of uint8 or floating point.
        channels: of each layer.
        activation: the non-linearity after each.
        hidden: units of a last, fully connected layer, activated too: F; None is none, and F all that comes out.

    Raises:
        OptionError: the observations are no images, or have their channels first; a layer without units.
    """

    def __init__(
        self,
        *,
        observation_space: gymnasium.Space[object],
        channels: list[int],
        activation: Activation = "relu",
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(observation_space, Box) or len(observation_space.shape) != 3:
            raise OptionError(
                "observation_space",
                found=observation_space,
                expected="images, a Box space of shape (rows, columns, channels)",
                write="trunk: {name: mlp}",
            )
        rows, columns, planes = observation_space.shape
        if planes > max(rows, columns):
            raise OptionError(
                "observation_space",
                found=f"images of shape {observation_space.shape}, with more channels than rows and columns",
                expected="(rows, columns, channels): channels come last",
            )
        image = (planes, rows, columns)
        self.is_of_bytes = observation_space.dtype == np.uint8
        self.layers = conv(image, channels, activation=activation)
        self.features = conv_features(image, channels)
        if hidden is not None:
            self.layers = nn.Sequential(*self.layers, *mlp(self.features, [hidden], activation=activation))
            self.features = hidden
        initialize_orthogonally(self.layers, gain=math.sqrt(2))

    def forward(self, observation: Tensor) -> Tensor:
        batch = observation.shape[:-3]
        images = observation.reshape(-1, *observation.shape[-3:]).permute(0, 3, 1, 2)  # [B, C, rows, columns]
        images = images.to(cast(nn.Conv2d, self.layers[0]).weight.dtype)
        features: Tensor = self.layers(images / 255 if self.is_of_bytes else images)
        return features.view(*batch, self.features)
