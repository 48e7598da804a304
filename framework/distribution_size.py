"""How large a distribution is: what memory it takes, which an example does not tell."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.distributions import Distribution


def numbers_an_event(distribution: Distribution) -> int:
    """Return how many numbers an event takes in the largest tensor that the distribution is made of, 1 or more.

    Of a `CategoricalPixels` that is 256 times the values of an example, one for each logit; of a Gaussian, one for each
    value. What is not larger than the event counts as the event.

    Args:
        distribution: batch shape of one event or more.

    Example:
        >>> import torch
        >>> from framework import CategoricalPixels
        >>> numbers_an_event(CategoricalPixels(torch.zeros(5, 256, 28, 28), event_dimensions=2))
        200704
    """
    events = max(1, distribution.batch_shape.numel())
    return max(1, distribution.event_shape.numel(), *(-(-size // events) for size in _sizes(distribution)))


def _sizes(distribution: Distribution) -> Iterator[int]:
    for value in vars(distribution).values():
        if isinstance(value, Tensor):
            yield value.numel()
        elif isinstance(value, Distribution):  # as Independent and transformed ones hold
            yield from _sizes(value)
