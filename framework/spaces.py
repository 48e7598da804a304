"""What networks make of an observation: numbers, of any gymnasium space that has a fixed number of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn

from framework.errors import OptionError


class Features(nn.Module):
    """Observations [*batch, *shape] → features [*batch, F], floating point.

    * Discrete: one-hot, of what the observation is above the space's start.
    * MultiDiscrete: the one-hots of all choices, one after the other.
    * MultiBinary: 0 and 1, flattened.
    * Box: flattened; of uint8, divided by 255.

    There is nothing to learn. Features have torch's default type; those of a floating-point box keep the box's.

    Args:
        space: the observations' space, of one environment and not of a batch of them.

    Attributes:
        features: F.
        are_observations: whether features are the observations themselves: floating-point vectors.

    Raises:
        OptionError: a space of another kind, named by the option `observation_space`.

    Example:
        >>> Features(Discrete(3, start=1))(torch.tensor([1, 3]))
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
    """

    features: int

    def __init__(self, space: gymnasium.Space[object]) -> None:
        super().__init__()
        self.are_observations = (
            isinstance(space, Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
        )
        self._encode: Callable[[Tensor], Tensor]
        if isinstance(space, Discrete):
            self.features = int(space.n)
            self._encode = partial(_one_hot, size=int(space.n), start=int(space.start))
        elif isinstance(space, MultiDiscrete):
            sizes, starts = space.nvec.flatten().tolist(), space.start.flatten().tolist()
            self.features = sum(sizes)
            self._encode = partial(_one_hots, sizes=sizes, starts=starts, dimensions=len(space.shape))
        elif isinstance(space, MultiBinary | Box):
            self.features = math.prod(space.shape)
            image = isinstance(space, Box) and space.dtype == np.uint8
            self._encode = partial(_flat, dimensions=len(space.shape), scale=1 / 255 if image else None)
        else:
            raise OptionError(
                "observation_space",
                found=space,
                expected="a Discrete, MultiDiscrete, MultiBinary or Box space",
                write="wrappers: [{name: flatten}]",
            )

    def forward(self, observation: Tensor) -> Tensor:
        return self._encode(observation)


def _one_hot(observation: Tensor, size: int, start: int) -> Tensor:
    return F.one_hot(observation - start, size).to(torch.get_default_dtype())


def _one_hots(observation: Tensor, *, sizes: Sequence[int], starts: Sequence[int], dimensions: int) -> Tensor:
    choices = observation.flatten(-dimensions).unbind(-1)
    parts = [_one_hot(*one) for one in zip(choices, sizes, starts, strict=True)]
    return torch.cat(parts, dim=-1)


def _flat(observation: Tensor, *, dimensions: int, scale: float | None) -> Tensor:
    if not observation.is_floating_point():
        observation = observation.to(torch.get_default_dtype())
    if scale is not None:
        observation = observation * scale
    if dimensions == 1:
        return observation
    return observation.flatten(-dimensions) if dimensions else observation.unsqueeze(-1)
