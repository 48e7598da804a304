"""The baseline that is the average of the returns so far."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import Baseline, Samples, register_baseline
from framework_plugins.baselines.replicas import check_replicas, check_runs
from framework_plugins.baselines.running_mean import RunningMean


@register_baseline("moving_average")
class MovingAverage(Baseline):
    """b = the average return of all samples before these, whatever they were chosen given.

    Before anything was seen it is 0. It does not depend on the samples that it is for, so that the gradient stays
    unbiased. Bandits and architecture controllers have it; where returns depend much on the observation or on
    the time, `value` and `time_dependent` take off more.

    Args:
        replicas: N, runs side by side; with more than one, the samples' K dimension is the run, and each run has an
            average of its own.
        decay: by how much less than the next each batch counts, in [0, 1); None (null) counts all samples alike. The
            average over batches is corrected for its start at 0, as Adam's are.

    Raises:
        OptionError: the decay or the replicas are out of range; samples are not of as many runs.

    Example:
        >>> baseline = MovingAverage()
        >>> baseline.update(Samples(torch.zeros(1, 2), returns=torch.tensor([[1.0, 4.0]])))
        >>> baseline(Samples(torch.zeros(1, 2), returns=torch.tensor([[7.0, 8.0]])))
        tensor([[2.5000, 2.5000]])

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 2.8 (all alike),
        http://incompleteideas.net/book/the-book-2nd.html; Zoph & Le, "Neural Architecture Search with Reinforcement
        Learning", 2017, section 3.2 (decay), https://arxiv.org/abs/1611.01578.
    """

    def __init__(self, *, replicas: int = 1, decay: float | None = None) -> None:
        super().__init__()
        check_replicas(replicas)
        self.replicas = replicas
        self.running = RunningMean(replicas, decay=decay)

    def forward(self, samples: Samples) -> Tensor:
        check_runs(samples, self.replicas)
        average = self.running.mean[:, None].to(samples.returns)  # [N, 1]
        return average.expand_as(samples.returns).clone()  # [K, B]; an update must not change what was returned

    def update(self, samples: Samples) -> None:
        check_runs(samples, self.replicas)
        counted = samples.mask if samples.mask is not None else torch.ones_like(samples.returns, dtype=torch.bool)
        returns = samples.returns.masked_fill(~counted, 0)
        runs = (self.replicas, -1)  # [N, K·B/N]
        self.running.update(sums=returns.reshape(runs).sum(1), counts=counted.reshape(runs).sum(1))
