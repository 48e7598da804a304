"""Policy: observation → π(a|s)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.registry import Registry


class Policy(nn.Module, ABC):
    """How to act: maps observations to a distribution over actions.

    Discrete actions are int64 [*batch], multi-discrete ones int64 [*batch, choices], those of a box floating point
    [*batch, *shape], multi-binary ones floating point [*batch, n], 0 or 1. The distribution has `log_prob`, `mode` (the
    greedy action) and, where there is a closed form, `entropy`.

    Attributes:
        explores_values: whether the observations are not an environment's but what is known of each action's value,
            `framework.ActionValues`: a rule for exploring.
        replicas: N, how many sets of parameters it has, one for each of N runs side by side.
    """

    explores_values: ClassVar[bool] = False
    replicas: int = 1

    @abstractmethod
    def forward(self, observation: Tensor) -> Distribution:
        """Return π(a|s).

        Args:
            observation: [*batch, *shape], as the environment gives it, or the features [*batch, F] of a shared trunk.
                A part with `replicas` = N parameter sets gets [..., N, *shape]: the last batch dimension is the run.

        Returns:
            A distribution with batch shape [*batch].
        """

    def sampler(self) -> Callable[[Tensor], Tensor] | None:
        """Return a faster way to draw actions than `forward`, until the parameters are changed.

        Returns:
            Observations [N, *shape] → actions [N, *action shape], drawn from `forward`'s distribution by torch's
            default generator; None where there is none.
        """
        return None


policies: Registry[Policy] = Registry("policy", Policy, context=("observation_space", "action_space", "replicas"))
register_policy = policies.register
