"""A mean, and how far it may be off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = 10  # of the jackknife


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated.

    Args:
        value: the estimate.
        standard_error: of it; None where it cannot be known, as of the mean of one number.
    """

    value: float
    standard_error: float | None

    @staticmethod
    def of_mean(values: Tensor) -> Estimate:
        """Return the mean of independent numbers [N], with s/√N, s their standard deviation.

        Example:
            >>> Estimate.of_mean(torch.tensor([1.0, 2.0, 3.0]))
            Estimate(value=2.0, standard_error=0.5773502691896258)
        """
        values = values.double()
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
        return Estimate(float(values.mean()), error)

    @staticmethod
    def by_jackknife(statistic: Callable[..., float], *samples: Tensor) -> Estimate:
        """Return a statistic of samples, with the standard error of the delete-a-group jackknife.

        Each of ten groups of every sample is left out in turn. For smooth statistics, of samples of twenty or more.

        Args:
            statistic: of the samples.
            samples: [n, …] each, of independent points.

        Example:
            >>> Estimate.by_jackknife(lambda x: float(x.mean()), torch.arange(100.0)).value
            49.5

        Reference: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
        """
        groups = [torch.arange(len(sample), device=sample.device) % GROUPS for sample in samples]
        left = [
            statistic(*(sample[group != one] for sample, group in zip(samples, groups, strict=True)))
            for one in range(GROUPS)
        ]
        without = torch.tensor(left, dtype=torch.float64)
        variance = (GROUPS - 1) / GROUPS * float((without - without.mean()).square().sum())
        return Estimate(statistic(*samples), math.sqrt(variance))
