"""What is known of the value of each action."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ActionValues:
    """Estimates of the actions' values: what an exploration rule observes, a policy that `explores_values`.

    Args:
        values: Q, [*batch, A] floating point, in the reward's unit; −∞ where an action is not allowed.
        counts: N, [*batch, A], how often each action has been taken.
    """

    values: Tensor
    counts: Tensor
