"""Divergence: (q, p, z) → nats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.registry import Registry
from framework.schedule import Schedule


class Divergence(nn.Module, ABC):
    """How far a distribution q, of which z is a sample, is from a reference p.

    Attributes:
        aggregate: whether the value of one example depends on the others, **or** random numbers are drawn. Such a part
            receives q and z of the whole batch (over all processes), a p with batch shape (), and returns a scalar.
        strict: whether it is least, in expectation, exactly where q (of an aggregate one, q(z)) = p, so that it alone
            can hold q to p. What measures a part of the mismatch, such as the total correlation, or something else,
            such as I(x;z), is not.
        rewardable: whether the divergence may be maximised, by a negative weight.
        needs_density: whether it evaluates q's density, which a deterministic posterior does not have.
        decomposition: the quantities that the divergence is a sum of, each with its coefficient; `fw show` adds them up
            over the terms of an objective. Empty: the divergence is a quantity of its own.
        estimator: how the value is found, in words, where there is a choice ("closed form"); `fw show` and the run's
            records repeat it. Set by `forward` when it depends on the distributions.
    """

    aggregate: ClassVar[bool] = False
    strict: ClassVar[bool] = False
    rewardable: ClassVar[bool] = False
    needs_density: ClassVar[bool] = False
    decomposition: ClassVar[Mapping[str, float]] = {}
    estimator: str = ""

    @abstractmethod
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        """Return the divergence in nats (or in the unit that the class states).

        Args:
            q: the distribution that z was drawn from; batch shape [B], event shape [D].
            p: the reference; batch shape () or [B], event shape [D].
            z: [B, D], a reparametrised sample of q.

        Returns:
            [B], one value an example; [] when `aggregate`.
        """


@dataclass(frozen=True)
class Term:
    """One summand of an objective: w · D, or w · |D − C| with a capacity C.

    Args:
        divergence: what is measured.
        weight: w, without unit; a schedule makes it depend on the counters.
        capacity: C in nats, or None. The absolute value is of the batch's mean, not of each example.
    """

    divergence: Divergence | CompositeDivergence
    weight: float | Schedule = 1.0
    capacity: float | Schedule | None = None


class CompositeDivergence(nn.Module, ABC):
    """A divergence that is written in other divergences: an objective rewrites it into its terms and never calls it."""

    @abstractmethod
    def terms(self) -> dict[str, Term]:
        """Return the terms that this stands for, by label."""


divergences: Registry[Divergence | CompositeDivergence] = Registry(
    "divergence", Divergence, CompositeDivergence, context=("latent_dim", "dataset_size")
)
register_divergence = divergences.register
