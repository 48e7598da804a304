"""A floor under the probabilities of another policy."""

from __future__ import annotations

import gymnasium
from gymnasium.spaces import Discrete
from torch import Tensor
from torch.distributions import Distribution

from framework import CategoricalLogits, IncompatibleParts, OptionError, Policy, register_policy
from framework_plugins.policies.refusals import wrong_action_space


@register_policy("epsilon_soft")
class EpsilonSoft(Policy):
    """(1 − ε) π(a|s) + ε/A: no action is ever less likely than ε/A; gradients reach π.

    Not `epsilon_greedy`, whose π takes the action of the largest value.

    Args:
        action_space: Discrete.
        of: π, a policy of one discrete choice.
        epsilon: ε in [0, 1). For a floor p under two actions, 2p.

    Raises:
        OptionError: ε is out of range, the actions are no Discrete space, or π is a rule for exploring values.
        IncompatibleParts: when it is called, π is no `CategoricalLogits`.

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, §5.4,
    http://incompleteideas.net/book/the-book-2nd.html.
    """

    def __init__(self, *, action_space: gymnasium.Space[object], of: Policy, epsilon: float) -> None:
        super().__init__()
        if not 0 <= epsilon < 1:
            raise OptionError("epsilon", found=epsilon, expected="a share in [0, 1)")
        if not isinstance(action_space, Discrete):
            raise wrong_action_space(action_space, "a Discrete space")
        if of.explores_values:
            raise OptionError("of", found=type(of).__name__, expected="a policy of observations, not a rule of values")
        self.of, self.epsilon, self.replicas = of, epsilon, of.replicas

    def forward(self, observation: Tensor) -> Distribution:
        policy: Distribution = self.of(observation)
        if not isinstance(policy, CategoricalLogits):
            misfit = OptionError(
                "of", found=type(policy).__name__, expected="a policy that returns a CategoricalLogits"
            )
            raise IncompatibleParts([misfit])
        if self.epsilon == 0:
            return policy
        return CategoricalLogits(probs=(1 - self.epsilon) * policy.probs + self.epsilon / policy.probs.shape[-1])
