"""Rollout: what happened in some environments over some steps, in tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """T steps in each of N environments.

    Legend: T time, N environments, E ends.

    Args:
        observation: [T + 1, N, *shape], as the environments gave them; the last row is what the last step led to.
        action: [T, N, *action shape].
        reward: [T, N] float32 or float64, in the environment's unit.
        terminated: [T, N] bool: the episode ended there, and nothing comes after.
        truncated: [T, N] bool: the episode was cut off there.
        mask: [T, N] bool, False on steps that are none: the dummies of NEXT_STEP autoreset, what comes after a whole
            episode's end.
        time: [T, N] int64, the step in the episode, from 0.
        action_mask: [T + 1, N, *choices] bool, the actions that were allowed; None where all are.
        optimal: [T, N] bool, whether the action was one of the best, where the environment tells; otherwise None.
        end_rows: [E, 2] int64, the (t, n) of the ends after which observation[t + 1, n] is of a new episode, as it is
            under SAME_STEP autoreset.
        end_observations: [E, *shape], the true last observations there.
        end_action_masks: [E, *choices] bool, the actions that were allowed after them; None where `action_mask` is.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    time: Tensor
    action_mask: Tensor | None
    optimal: Tensor | None
    end_rows: Tensor
    end_observations: Tensor
    end_action_masks: Tensor | None

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def decisions(self) -> int:
        """The number of steps that count."""
        return int(self.mask.count_nonzero())

    def to(self, *arguments: object) -> Rollout:
        """Return it with every tensor moved."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: value.to(*arguments) for name, value in held.items() if value is not None})
