"""Where the values of a distribution lie."""

from __future__ import annotations

from torch.distributions import Distribution, constraints


def support_of_a_value(distribution: Distribution) -> constraints.Constraint:
    """Return the range of one value of an event, such as a pixel or a latent, where that of all is a product.

    Raises:
        NotImplementedError: torch's answer where a distribution has no support written down.

    Example:
        >>> import torch
        >>> from framework import BernoulliLogits
        >>> support_of_a_value(BernoulliLogits(torch.zeros(2, 3), 1)) is constraints.boolean
        True
    """
    support: constraints.Constraint = distribution.support  # type: ignore[assignment]
    return support.base_constraint if isinstance(support, constraints.independent) else support
