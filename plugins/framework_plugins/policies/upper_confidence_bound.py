"""The action that might be the best."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.distributions import Distribution

from framework import ActionValues, OptionError, Policy, register_policy
from framework_plugins.policies.greedy import MostlyGreedy


@register_policy("upper_confidence_bound")
class UpperConfidenceBound(Policy):
    """argmax_a Q(a) + c √(ln t / N(a)): the less often an action was taken, the more it is given credit for.

    t = Σ_a N(a) + 1 is the number of the step that the action is for. Actions that were never taken come first, those
    that are not allowed (Q = −∞) never. Ties are broken at random. Nothing is learned.

    Args:
        c: how much a doubt counts, in the reward's unit; positive.

    Raises:
        OptionError: c is not positive.

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, equation 2.10,
    http://incompleteideas.net/book/the-book-2nd.html; Auer, Cesa-Bianchi & Fischer, "Finite-time analysis of the
    multiarmed bandit problem", 2002, figure 1 (UCB1), https://doi.org/10.1023/A:1013689704352.
    """

    explores_values: ClassVar[bool] = True

    def __init__(self, *, c: float) -> None:
        super().__init__()
        if c <= 0:
            write = "policy: {name: epsilon_greedy, epsilon: 0}" if c == 0 else ""
            raise OptionError("c", found=c, expected="a positive number", write=write)
        self.c = c

    def forward(self, observation: ActionValues) -> Distribution:  # type: ignore[override]
        dtype = observation.values.dtype
        # torch is slow along short rows: actions come first, [A, *batch].
        values = observation.values.detach().movedim(-1, 0)
        counts = observation.counts.detach().movedim(-1, 0).to(dtype).contiguous()
        # ln 1 is kept above zero: divided by a count of zero it is to be more than all else, not 0/0, in the first step
        # too; and not +∞ either, so that −∞, the value of what is not allowed, outweighs it.
        time = (counts.sum(0) + 1).log_().clamp_min_(torch.finfo(dtype).tiny)
        bonus = (time / counts).sqrt_().mul_(self.c).clamp_max_(torch.finfo(dtype).max)
        return MostlyGreedy(values.add(bonus), 0.0)
