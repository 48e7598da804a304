"""β times any divergence, with or without a capacity."""

from __future__ import annotations

from framework import CompositeDivergence, Divergence, Schedule, Term, register_divergence
from framework.divergence import divergences


@register_divergence("beta")
class Beta(CompositeDivergence):
    """β · D, or γ · |D − C| with a capacity C (γ is β then).

    With `of: {name: kl}` this is the β-VAE. The absolute value is of the batch's mean divergence, not of each example.

    Args:
        beta: β or γ, without unit; a number or a schedule.
        of: D.
        capacity: C in nats; a number or a schedule of optimiser steps.

    Example:
        >>> from framework_plugins.divergences.kl import KL
        >>> term = Beta(beta=4.0, of=KL(), capacity=20.0).terms()["kl"]
        >>> term.weight, term.capacity
        (4.0, 20.0)

    Oracle: β · D and γ · |D − C| of a batch by hand, with numbers and with schedules.

    Reference: Higgins et al., "beta-VAE", 2017, equation 4, https://openreview.net/forum?id=Sy2fzU9gl; Burgess et al.,
        "Understanding disentangling in β-VAE", 2018, equation 8, https://arxiv.org/abs/1804.03599.
    """

    def __init__(self, *, beta: float | Schedule, of: Divergence, capacity: float | Schedule | None = None) -> None:
        super().__init__()
        self.beta, self.of, self.capacity = beta, of, capacity

    def terms(self) -> dict[str, Term]:
        return {divergences.name_of(self.of): Term(self.of, self.beta, self.capacity)}
