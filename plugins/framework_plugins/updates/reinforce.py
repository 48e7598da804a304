"""REINFORCE: the gradient of the expected return as it is."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from framework import Decisions, Update, register_update, score_function
from framework_plugins.updates.counts import check_counts


@register_update("reinforce")
class Reinforce(Update):
    """One step along the gradient of the expected return, estimated from whole episodes.

        L_t = −w_t·A_t·log π(a_t|s_t),    ∇J = −E Σ_t ∇L_t

    A is the return to go less the baseline and w is γ^t, or 1 where the learner leaves the discount of states out. The
    losses are summed over an episode's steps and averaged over episodes, which is unbiased where the advantages are and
    are not normalised. Averaged over steps, the learning rate shrinks with an episode's length. The value of the loss
    means nothing.

    Args:
        steps: T, of a rollout in each environment, whose losses are then summed over T and averaged over environments;
            None (null) is a whole episode in each.
        average: over `episodes`, whose steps are summed, or over `steps`.
        normalize_advantages: whether the advantages of a rollout are brought to mean 0 and standard deviation 1.

    Raises:
        OptionError: steps is below 1.

    Example:
        >>> Reinforce().steps is None, Reinforce().sums_episodes
        (True, True)

    Reference: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
        1992, https://doi.org/10.1007/BF00992696; Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, sections
        13.3 and 13.4, http://incompleteideas.net/book/the-book-2nd.html.
    """

    def __init__(
        self,
        *,
        steps: int | None = None,
        average: Literal["episodes", "steps"] = "episodes",
        normalize_advantages: bool = False,
    ) -> None:
        super().__init__()
        check_counts(steps=steps)
        self.steps, self.normalize_advantages = steps, normalize_advantages
        self.sums_episodes = average == "episodes"

    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return score_function(decisions.log_prob, -decisions.advantage, weight=decisions.weight), {}
