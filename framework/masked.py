"""Sums and means over the steps of a rollout that are decisions, and over runs side by side.

Legend: T time, N environments, M decisions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framework.update import mean_of

_SMALL = 1e-8  # keeps a standard deviation of 0 from dividing


def sum_over(count: Tensor | float, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the sum of values [T, N] or [M] over the decisions, divided by a count, which may be of each run, [N]."""
    if mask is None:
        return values.sum() / count
    return (_masked(values, mask).sum(0) / count).sum()


def standardised(advantage: Tensor, mask: Tensor | None) -> Tensor:
    """Return advantages of mean 0 and standard deviation 1 over the decisions; one alone becomes 0."""
    if mask is None:
        deviation, mean = torch.std_mean(advantage, correction=min(1, len(advantage) - 1))
        return (advantage - mean) / (deviation + _SMALL)
    mean = mean_of(advantage, mask)
    variance = _masked((advantage - mean).square(), mask).sum() / (mask.sum() - 1).clamp(min=1)
    return (advantage - mean) / (variance.sqrt() + _SMALL)


def over_runs(name: str, values: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return the mean of values [T, N] over steps and runs that took any, and of several runs its standard error.

    The error is 0 where all but one of several runs rest: one alone tells nothing of it.
    """
    if int(mask.count_nonzero()) == mask.numel():  # as it is with bandits, and then they are many
        means = values[0] if len(values) == 1 else values.mean(0)  # [N]
    else:
        decisions = mask.sum(0)  # [N]
        means = (_masked(values, mask).sum(0) / decisions)[decisions > 0]  # [≤ N]
    if values.shape[1] == 1:
        return {name: means.mean()}
    deviation, mean = torch.std_mean(means, correction=min(1, len(means) - 1))
    return {name: mean, f"{name}_standard_error": deviation / len(means) ** 0.5}


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0.0)
