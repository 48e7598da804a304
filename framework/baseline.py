"""Baseline: samples → b, what a sample's return is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from framework.registry import Registry


@dataclass(frozen=True)
class Samples:
    """Samples of what is chosen, each with what came of it: K samples for each of B contexts.

    Of a rollout K are the environments and B the steps; of a latent variable K are the draws and B the examples.

    Args:
        observation: [K, B, *shape], what each was chosen given (of a latent variable, the example).
        returns: [K, B], in the reward's unit.
        time: [K, B] int64, the step in the episode; None where there is no time.
        mask: [K, B] bool, False on samples that are none (dummies, padding); None is True everywhere.
        values: [K, B], the baseline of the same samples when they were drawn, where it is known.
    """

    observation: Tensor
    returns: Tensor
    time: Tensor | None = None
    mask: Tensor | None = None
    values: Tensor | None = None


class Baseline(nn.Module, ABC):
    """A number that is taken off each sample's return, to lower the variance of a score-function gradient.

    The gradient stays unbiased because a sample's baseline does not depend on that sample's own return:
    ∂b[k, i]/∂returns[k, i] = 0.

    Attributes:
        bootstraps: whether b is an estimate of the expected return from the observation alone, so that it can stand for
            the time after a rollout is cut.
        fewest_samples: the fewest samples K of one context that it says anything about.
        replicas: N, how many sets of parameters or averages it has, one for each of N runs side by side.
    """

    bootstraps: ClassVar[bool] = False
    fewest_samples: ClassVar[int] = 1
    replicas: int = 1

    @property
    def keeps_statistics(self) -> bool:
        """Whether it learns by `update`: from whole batches, and not from their parts in turn."""
        return type(self).update is not Baseline.update

    @abstractmethod
    def forward(self, samples: Samples) -> Tensor:
        """Return b, [K, B], in the reward's unit; anything where the mask is False."""

    def update(self, samples: Samples) -> None:
        """Take samples into the statistics that it keeps; called after the step that they were used in."""


class FittedBaseline(Baseline, ABC):
    """A baseline whose parameters are fitted to the returns by gradients."""

    @abstractmethod
    def loss(self, samples: Samples) -> Tensor:
        """Return what is to be made smaller for each sample, [K, B], with a graph; anything where the mask is False."""


baselines: Registry[Baseline] = Registry("baseline", Baseline, context=("observation_space", "replicas"))
register_baseline = baselines.register
