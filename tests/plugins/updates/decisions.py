"""Decisions for the tests of updates: what is not told is such that it plays no part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework import Decisions
from framework.distributions import DiagonalGaussian


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def decisions(
    log_prob: Tensor,
    advantage: Tensor,
    *,
    acting_log_prob: Tensor | None = None,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    policy: Distribution | None = None,
    acting: Distribution | None = None,
    action: Tensor | None = None,
) -> Decisions:
    """Decisions in float64, each with its log-probability; the policy is read by penalties alone."""
    nowhere = log_prob.detach()[..., None]
    return Decisions(
        policy=policy if policy is not None else DiagonalGaussian(nowhere, nowhere),
        acting=acting,
        action=action if action is not None else nowhere,
        log_prob=log_prob,
        acting_log_prob=log_prob.detach() if acting_log_prob is None else acting_log_prob,
        advantage=advantage,
        weight=torch.ones_like(advantage) if weight is None else weight,
        mask=torch.ones_like(advantage, dtype=torch.bool) if mask is None else mask,
    )
