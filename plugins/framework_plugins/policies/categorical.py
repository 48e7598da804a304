"""The policy over discrete actions."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor
from torch.distributions import Distribution

from framework import CategoricalLogits, MultiCategorical, OptionError, Policy, Trunk, register_policy
from framework.networks import array_function
from framework_plugins.policies.head import Head
from framework_plugins.policies.refusals import number_of_actions, refuse_start, wrong_action_space


@register_policy("categorical")
class CategoricalPolicy(Policy):
    """π(a|s) = softmax of a linear layer; of several choices, one softmax for each.

    Args:
        observation_space: what is observed.
        action_space: Discrete, or MultiDiscrete of one dimension, from 0 on.
        trunk: the layers below; without, the logits are linear in the observation.
        head_scale: the gain of the last layer's orthogonal initialisation; a small one makes all actions nearly
            equally likely at first.

    Raises:
        OptionError: another action space, an observation without features, a scale that is not positive.

    Example:
        >>> policy = CategoricalPolicy(observation_space=Discrete(4), action_space=Discrete(2))
        >>> policy(torch.tensor([0, 3, 1])).sample().shape
        torch.Size([3])
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
        self.sizes: tuple[int, ...] | None = None  # of several choices
        if isinstance(action_space, MultiDiscrete):
            if len(action_space.shape) != 1:
                raise OptionError("action_space", found=action_space, expected="a MultiDiscrete space of one dimension")
            refuse_start(action_space)
            self.sizes = tuple(action_space.nvec.tolist())
            outputs = sum(self.sizes)
        elif isinstance(action_space, Discrete):
            outputs = number_of_actions(action_space)
        else:
            raise wrong_action_space(action_space, "a Discrete or MultiDiscrete space")
        self.head = Head(observation_space=observation_space, trunk=trunk, outputs=outputs, scale=head_scale)

    def forward(self, observation: Tensor) -> Distribution:
        logits = self.head(observation)  # [*batch, A]
        return CategoricalLogits(logits) if self.sizes is None else MultiCategorical(logits, self.sizes)

    def sampler(self) -> Callable[[Tensor], Tensor] | None:
        chain = self.head.chain() if self.sizes is None else None
        logits = None if chain is None else array_function(chain)
        if logits is None:
            return None

        def draw(observation: Tensor) -> Tensor:
            # Of independent exponential times with rates e^logit, that of an action is the first with probability π(a).
            found = logits(observation.numpy())  # [N, A]
            times = torch.empty(found.shape).exponential_().log_().numpy() - found  # their logarithms
            return torch.from_numpy(times.argmin(-1))

        return draw
