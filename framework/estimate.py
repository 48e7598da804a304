"""A mean, and how far it may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


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
            >>> import torch
            >>> Estimate.of_mean(torch.tensor([1.0, 2.0, 3.0]))
            Estimate(value=2.0, standard_error=0.5773502691896258)
        """
        values = values.double()
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
        return Estimate(float(values.mean()), error)
