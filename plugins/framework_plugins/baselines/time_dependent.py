"""The baseline that is the average of the returns so far at the same time."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import Baseline, OptionError, Samples, register_baseline
from framework_plugins.baselines.replicas import check_replicas, check_runs
from framework_plugins.baselines.running_mean import RunningMean


@register_baseline("time_dependent")
class TimeDependent(Baseline):
    """b_t = the average return to go at step t of the episodes before these.

    0 at a time that was not seen yet. It does not depend on the samples that it is for, so that the gradient stays
    unbiased. It knows the time and nothing else: where the observation tells more, `value` takes off more.

    Args:
        steps: how many times have an average of their own: 0 … steps − 1; all later ones share the last.
        replicas: N, runs side by side; with more than one, the samples' K dimension is the run, and each run has
            averages of its own.
        decay: by how much less than the next batch with a sample at that time each batch counts, in [0, 1); None (null)
            counts all samples alike.

    Raises:
        OptionError: an option is out of range; samples have no time, or are not of as many runs.

    Example:
        >>> baseline = TimeDependent(steps=2)
        >>> episode = Samples(torch.zeros(1, 3), torch.tensor([[5.0, 2.0, 1.0]]), time=torch.tensor([[0, 1, 2]]))
        >>> baseline.update(episode)
        >>> baseline(episode)
        tensor([[5.0000, 1.5000, 1.5000]])

    Reference: Greensmith, Bartlett & Baxter, "Variance Reduction Techniques for Gradient Estimates in Reinforcement
        Learning", JMLR 2004, https://jmlr.org/papers/v5/greensmith04a.html (constant and state-dependent baselines).
    """

    def __init__(self, *, steps: int, replicas: int = 1, decay: float | None = None) -> None:
        super().__init__()
        check_replicas(replicas)
        if steps < 1:
            raise OptionError("steps", found=steps, expected="1 or more")
        self.steps, self.replicas = steps, replicas
        self.running = RunningMean(replicas, steps, decay=decay)

    def forward(self, samples: Samples) -> Tensor:
        return self.running.mean.flatten()[self._cells(samples)].to(samples.returns)  # [K, B]

    def update(self, samples: Samples) -> None:
        cells = self._cells(samples)  # [K, B]
        if samples.mask is not None:
            cells = cells[samples.mask]
        returns = samples.returns if samples.mask is None else samples.returns[samples.mask]
        shape = self.running.mean.shape
        sums = returns.new_zeros(shape.numel()).index_add(0, cells.flatten(), returns.flatten())
        self.running.update(sums.view(shape), cells.flatten().bincount(minlength=shape.numel()).view(shape))

    def _cells(self, samples: Samples) -> Tensor:
        """Return which cell of the table, flattened, each sample is of, [K, B] int64."""
        check_runs(samples, self.replicas)
        if samples.time is None:
            raise OptionError(
                "baseline",
                found="samples without a time",
                expected="the step in the episode of each sample",
                write="a baseline that needs none, such as leave_one_out",
            )
        first = self.steps * torch.arange(self.replicas, device=samples.time.device)[:, None]  # [N, 1]
        return first + samples.time.clamp(0, self.steps - 1)
