"""The largest of each row, ties being broken at random, and any of them sometimes.

torch is slow along short rows, and at finding where a row is largest: scores are taken with the actions first, and
compared with the largest one.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from framework import CategoricalLogits
from framework.distributions import SampleShape


class MostlyGreedy(Distribution):
    """(1 − ε)/n on each of the n actions with the largest score, plus ε/m on each of the m allowed ones.

    It is a `CategoricalLogits`, except that it draws without its probabilities where it can: where all actions are
    allowed and no scores are equal, which is nearly always once each action has been taken.

    Args:
        scores: [A, *batch], floating point, the actions first; −∞ where an action is not allowed. Where none is,
            nothing is decided, and all are equally likely. They may change afterwards.
        epsilon: ε in [0, 1].
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, scores: Tensor, epsilon: float) -> None:
        self.epsilon = epsilon
        largest = scores.amax(0)
        # As numbers: torch adds them up, and writes them, several times as fast as booleans.
        self._best = torch.eq(scores, largest, out=torch.empty_like(scores))  # [A, *batch], 1 or 0
        self._allowed: Tensor | None = None  # [A, *batch], 1 or 0, where not all are
        if epsilon and scores.amin() == -math.inf:  # to look for some that are not takes a fifth of what all would
            self._allowed = (scores > -math.inf).logical_or_(largest == -math.inf).to(scores.dtype)
        super().__init__(scores.shape[1:], validate_args=False)

    @lazy_property
    def categorical(self) -> CategoricalLogits:
        """The same distribution, by its probabilities."""
        probs = self._best * ((1 - self.epsilon) / self._best.sum(0))
        if self._allowed is not None:
            probs.addcmul_(self._allowed, self.epsilon / self._allowed.sum(0))
        elif self.epsilon:
            probs.add_(self.epsilon / len(probs))
        return CategoricalLogits(probs=probs.movedim(0, -1))

    @property
    def probs(self) -> Tensor:
        """π, [*batch, A]."""
        return self.categorical.probs

    @property
    def support(self) -> constraints.Constraint:
        return self.categorical.support

    @property
    def mode(self) -> Tensor:
        return self.categorical.mode

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        best = self._best.view(len(self._best), -1)  # [A, B]
        if len(sample_shape) or self._allowed is not None or best.sum(0).amax() > 1:
            return self.categorical.sample(sample_shape)
        names = torch.arange(len(best), dtype=best.dtype, device=best.device)[:, None]  # [A, 1]
        action = (best * names).sum(0).long()  # [B]
        if self.epsilon:
            explores = (torch.rand_like(best[0]) < self.epsilon).nonzero()[:, 0]
            action[explores] = torch.randint(len(best), explores.shape, device=best.device)
        return action.view(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.categorical.log_prob(value)

    def entropy(self) -> Tensor:
        return self.categorical.entropy()
