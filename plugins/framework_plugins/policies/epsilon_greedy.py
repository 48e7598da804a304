"""The best action mostly, any action sometimes."""

from __future__ import annotations

from typing import ClassVar

from torch.distributions import Distribution

from framework import ActionValues, OptionError, Policy, register_policy
from framework_plugins.policies.greedy import MostlyGreedy


@register_policy("epsilon_greedy")
class EpsilonGreedy(Policy):
    """With probability ε any action, otherwise one of the largest value: π(a) = (1 − ε) [a is best]/n + ε/A.

    n actions share the largest value, and one of them is taken at random: that matters at first, when all values are
    the same. A is the number of allowed actions, those of a value above −∞. Nothing is learned.

    Args:
        epsilon: ε in [0, 1]; 0 is greedy.

    Raises:
        OptionError: ε is out of range.

    Example:
        >>> import torch
        >>> values = ActionValues(values=torch.tensor([0.0, 1.0, 1.0, 0.0]), counts=torch.ones(4))
        >>> EpsilonGreedy(epsilon=0.2)(values).probs
        tensor([0.0500, 0.4500, 0.4500, 0.0500])

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, §2.2 and §2.4,
    http://incompleteideas.net/book/the-book-2nd.html.
    """

    explores_values: ClassVar[bool] = True

    def __init__(self, *, epsilon: float) -> None:
        super().__init__()
        if not 0 <= epsilon <= 1:
            raise OptionError("epsilon", found=epsilon, expected="a share in [0, 1]")
        self.epsilon = epsilon

    def forward(self, observation: ActionValues) -> Distribution:  # type: ignore[override]
        return MostlyGreedy(observation.values.detach().movedim(-1, 0).contiguous(), self.epsilon)
