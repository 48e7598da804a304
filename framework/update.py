"""Update: a rollout's decisions → the loss of a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.registry import Registry


@dataclass(frozen=True)
class Decisions:
    """Actions that were taken, and how well they turned out.

    Args:
        policy: π(·|s) now, batch shape [*batch], with a graph.
        acting: π(·|s) as it was when the actions were taken, without a graph; None unless the update `compares`.
        action: [*batch, *action shape].
        log_prob: log π(a|s), [*batch], nats, with a graph.
        acting_log_prob: log π(a|s) when the action was taken, [*batch], nats.
        advantage: [*batch], how much better than the baseline it turned out, in the reward's unit; constant.
        weight: [*batch], what each decision counts: 1, or γ^t.
        mask: [*batch] bool, False on rows that are no decisions; None where all rows are.
    """

    policy: Distribution
    acting: Distribution | None
    action: Tensor
    log_prob: Tensor
    acting_log_prob: Tensor
    advantage: Tensor
    weight: Tensor
    mask: Tensor | None

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values [*batch] over the decisions, [], detached; 0 where there are none."""
        return mean_of(values.detach(), self.mask)


def mean_of(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of values [*batch] where the mask is True, []; 0 where it is nowhere. None is True everywhere."""
    if mask is None:
        return values.sum() / max(1, values.numel())
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


class Update(nn.Module, ABC):
    """How a policy is improved by what it has just done.

    Attributes:
        steps: T, of a rollout in each environment; None is a whole episode in each.
        passes: how often a rollout is gone through.
        minibatches: into how many equal parts, shuffled anew in each pass; with 1, it stays whole and in order.
        normalize_advantages: whether the advantages of each minibatch are brought to mean 0 and standard deviation 1.
        sums_episodes: whether losses are summed over an episode's steps and averaged over episodes, as the gradient of
            the expected return has it; otherwise they are averaged over steps. Of T steps in each environment, over
            the environments. Not with several minibatches.
        compares: whether it needs the policy as it was when the actions were taken.
    """

    steps: int | None
    passes: int = 1
    minibatches: int = 1
    normalize_advantages: bool = False
    sums_episodes: bool = False
    compares: bool = False

    @abstractmethod
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is to be made smaller for each decision, and what there is to be logged.

        Returns:
            The loss [*batch], with a graph, anything where the mask is False; and metrics, [] each, detached, means
            over the decisions.
        """

    def goes_on(self, metrics: dict[str, float]) -> bool:
        """Return whether another pass over the rollout may follow, by the means of the metrics over the last one."""
        return True

    def finish(self, metrics: dict[str, float]) -> None:
        """Take note that a rollout is done with; called once for each, after its last pass and that pass's `goes_on`.

        What is kept from here to the next rollout is kept in buffers.

        Args:
            metrics: the means of the metrics over the last pass, the same on all processes.
        """


updates: Registry[Update] = Registry("update", Update)
register_update = updates.register
