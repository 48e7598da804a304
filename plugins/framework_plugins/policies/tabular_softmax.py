"""The policy of preferences in a table."""

from __future__ import annotations

import gymnasium
import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn
from torch.distributions import Distribution

from framework import CategoricalLogits, OptionError, Policy, register_policy
from framework_plugins.policies.refusals import number_of_actions, wrong_action_space


@register_policy("tabular_softmax")
class TabularSoftmax(Policy):
    """π(a|s) = exp H(s, a) / Σ_b exp H(s, b), the preferences H being a table of parameters.

    With a floor no action is ever less likely than it: what others have above it is shared out in proportion. The
    gradient is then that of a softmax whose probabilities these are, ∂log π(a|s)/∂H(s, b) = 1[a = b] − π(b|s), and not
    the derivative of the floor, which is 0 beyond it: a preference that has run too far is brought back.

    Args:
        observation_space: Discrete, S states.
        action_space: Discrete, A actions from 0 on.
        replicas: N, how many tables, for as many independent runs: the last dimension of the batch is then the run.
        preferences: H(s, ·) of each state at first, A numbers; by default 0, all actions equally likely.
        floor: the least probability of an action, in [0, 1/A).

    Raises:
        OptionError: another space, not as many preferences as actions, a floor out of range.

    Example:
        >>> policy = TabularSoftmax(observation_space=Discrete(1), action_space=Discrete(2), preferences=[0.0, 1.0])
        >>> policy(torch.tensor(0)).probs
        tensor([0.2689, 0.7311], grad_fn=<ExpBackward0>)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, equations 2.11 and 13.2,
    http://incompleteideas.net/book/the-book-2nd.html.
    """

    runs: Tensor

    def __init__(
        self,
        *,
        observation_space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        replicas: int = 1,
        preferences: list[float] | None = None,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(action_space, Discrete):
            raise wrong_action_space(action_space, "a Discrete space")
        actions = number_of_actions(action_space)
        if not isinstance(observation_space, Discrete):
            raise OptionError(
                "observation_space",
                found=observation_space,
                expected="a Discrete space, a row of the table for each observation",
                write="policy: {name: categorical}",
            )
        initial = torch.zeros(actions) if preferences is None else torch.tensor(preferences)
        if len(initial) != actions:
            raise OptionError("preferences", found=preferences, expected=f"a number for each of {actions} actions")
        if not 0 <= floor < 1 / actions:
            raise OptionError("floor", found=floor, expected=f"a probability in [0, 1/{actions})")
        self.floor = floor
        self.start, self.replicas = int(observation_space.start), replicas
        self.preferences = nn.Parameter(initial.repeat(replicas, int(observation_space.n), 1))  # [N, S, A]
        self.register_buffer("runs", torch.arange(replicas), persistent=False)

    def forward(self, observation: Tensor) -> Distribution:
        state = observation - self.start if self.start else observation
        preferences = self.preferences[0, state] if self.replicas == 1 else self.preferences[self.runs, state]
        return CategoricalLogits(_floored(preferences, self.floor) if self.floor else preferences)  # [*batch, A]


def _floored(preferences: Tensor, floor: float) -> Tensor:
    """Return log-probabilities of a floor or more, [*batch, A], whose derivative by the preferences is 1."""
    excess = (preferences.detach().softmax(-1) - floor).clamp(min=0)
    free = 1 - preferences.shape[-1] * floor
    probabilities = floor + free * excess / excess.sum(-1, keepdim=True)
    return preferences + (probabilities.log() - preferences.detach())
