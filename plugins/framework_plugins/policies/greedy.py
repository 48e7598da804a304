"""The largest of each row, ties being broken at random.

torch is slow along short rows: scores are taken with the actions first, copied once, and changed in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from framework import CategoricalLogits


def actions_first(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy [A, *batch], without a graph, of values [*batch, A]."""
    turned = values.detach().movedim(-1, 0)
    return turned.to(dtype, copy=True, memory_format=torch.contiguous_format)


def greedy(scores: Tensor, epsilon: float) -> CategoricalLogits:
    """Return (1 − ε)/n on each of the n actions with the largest score, plus ε/m on each of the m allowed ones.

    Args:
        scores: [A, *batch], floating point, which becomes the result; −∞ where an action is not allowed. Where none is,
            nothing is decided, and all are equally likely.
        epsilon: ε in [0, 1].
    """
    largest = scores.amax(0)
    allowed = None
    if epsilon and scores.amin() == -math.inf:  # to look for some that are not takes a fifth of what all would
        allowed = (scores > -math.inf).logical_or_(largest == -math.inf).to(scores.dtype)
    best = scores.eq_(largest)
    best.mul_((1 - epsilon) / best.sum(0))
    if allowed is not None:
        best.addcmul_(allowed, epsilon / allowed.sum(0))
    elif epsilon:
        best.add_(epsilon / len(best))
    return CategoricalLogits(probs=best.movedim(0, -1))
