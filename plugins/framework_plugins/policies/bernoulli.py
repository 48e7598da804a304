"""The policy over switches."""

from __future__ import annotations

import math

import gymnasium
from gymnasium.spaces import MultiBinary
from torch import Tensor
from torch.distributions import Distribution

from framework import BernoulliLogits, Policy, Trunk, register_policy
from framework_plugins.policies.head import Head
from framework_plugins.policies.refusals import wrong_action_space


@register_policy("bernoulli")
class BernoulliPolicy(Policy):
    """Independent switches, each on with probability σ(logit), the logits being a linear layer's; actions are 0 or 1.

    Args:
        observation_space: what is observed.
        action_space: MultiBinary.
        trunk: the layers below; without, the logits are linear in the observation.
        head_scale: the gain of the last layer's orthogonal initialisation; with a small one each switch is nearly as
            often on as off at first.

    Raises:
        OptionError: another action space, an observation without features, a scale that is not positive.
    """

    def __init__(
        self,
        *,
        observation_space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        trunk: Trunk | None = None,
        head_scale: float = 0.01,
    ) -> None:
        super().__init__()
        if not isinstance(action_space, MultiBinary):
            raise wrong_action_space(action_space, "a MultiBinary space")
        self.shape: tuple[int, ...] = tuple(action_space.shape)
        outputs = math.prod(self.shape)
        self.head = Head(observation_space=observation_space, trunk=trunk, outputs=outputs, scale=head_scale)

    def forward(self, observation: Tensor) -> Distribution:
        return BernoulliLogits(self.head(observation).unflatten(-1, self.shape), len(self.shape))
