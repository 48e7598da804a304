"""The last layer of a policy: observation → what parametrises π(a|s)."""

from __future__ import annotations

import gymnasium
from torch import Tensor, nn

from framework import Features, OptionError, Trunk
from framework.networks import initialize_orthogonally
from framework.precision import at_least_single


class Head(nn.Module):
    """A linear layer on a trunk, or on the observation's features where there is none.

    Args:
        observation_space: what comes in.
        trunk: the layers below.
        outputs: how many numbers come out.
        scale: the gain of the orthogonal initialisation; the bias is 0. A small one makes all actions alike at first.

    Raises:
        OptionError: the scale is not positive.
    """

    def __init__(
        self, *, observation_space: gymnasium.Space[object], trunk: Trunk | None, outputs: int, scale: float
    ) -> None:
        super().__init__()
        if scale <= 0:
            raise OptionError("head_scale", found=scale, expected="a positive number")
        self.trunk = Features(observation_space) if trunk is None else trunk
        self.linear = nn.Linear(self.trunk.features, outputs)
        initialize_orthogonally(self.linear, gain=scale)

    def forward(self, observation: Tensor) -> Tensor:
        """Return [*batch, outputs] of observations [*batch, *shape]."""
        features = self.trunk(observation).to(self.linear.weight.dtype)
        return at_least_single(self.linear(features))

    def chain(self) -> list[nn.Module] | None:
        """Return the layers that an observation goes through one after the other; None where it is not that simple."""
        if isinstance(self.trunk, Features):
            return [self.linear] if self.trunk.are_observations else None
        below = self.trunk.chain()
        return None if below is None else [*below, self.linear]
