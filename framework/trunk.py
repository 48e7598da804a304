"""Trunk: observation → features, which a policy and a baseline may share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from framework.registry import Registry


class Trunk(nn.Module, ABC):
    """The layers below a head. A learner's own is shared: policy and baseline see its features as their observations.

    Attributes:
        features: F, how many numbers it makes of an observation.
    """

    features: int

    @abstractmethod
    def forward(self, observation: Tensor) -> Tensor:
        """Return features [*batch, F] of observations [*batch, *shape], as the environment gives them."""


trunks: Registry[Trunk] = Registry("trunk", Trunk, context=("observation_space",))
register_trunk = trunks.register
