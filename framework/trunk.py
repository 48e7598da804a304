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

    def chain(self) -> list[nn.Module] | None:
        """Return the layers that an observation goes through one after the other; None where it is not that simple.

        Where there is a chain, observations are floating-point vectors, and acting may take less time.
        """
        return None


trunks: Registry[Trunk] = Registry("trunk", Trunk, context=("observation_space",))
register_trunk = trunks.register
