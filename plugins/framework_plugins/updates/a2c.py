"""A2C: an actor-critic step after every few steps of all environments."""

from __future__ import annotations

from torch import Tensor

from framework import Decisions, Update, register_update, score_function
from framework_plugins.updates.counts import check_counts


@register_update("a2c")
class A2C(Update):
    """One step on a short rollout of many environments, whose future a value baseline stands for.

        L_t = −w_t·A_t·log π(a_t|s_t)

    It is `reinforce` with rollouts that are cut and losses that are averaged over steps, not summed over episodes. It
    waits for all environments, where A3C's workers step each at their own time. As biased as the advantages: the
    value after a cut is an estimate. The value of the loss means nothing.

    Args:
        steps: T, of a rollout in each environment.
        normalize_advantages: whether the advantages of a rollout are brought to mean 0 and standard deviation 1.

    Raises:
        OptionError: steps is below 1.

    Example:
        >>> A2C().steps, A2C().sums_episodes
        (5, False)

    Reference: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", 2016, section 4 and algorithm S3,
        https://arxiv.org/abs/1602.01783.
    """

    def __init__(self, *, steps: int = 5, normalize_advantages: bool = False) -> None:
        super().__init__()
        check_counts(steps=steps)
        self.steps, self.normalize_advantages = steps, normalize_advantages

    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return score_function(decisions.log_prob, -decisions.advantage, weight=decisions.weight), {}
