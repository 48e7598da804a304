"""Which labels a conditional learner is told of the examples that it makes.

Legend: N examples, C labels that occur.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_of_each(labels: Tensor) -> Tensor:
    """Return the row of the first example of each label, in the labels' order, [C], for labels [N]."""
    names, place = labels.unique(return_inverse=True)  # [C], [N]
    rows = torch.arange(len(labels), device=labels.device)
    return torch.full_like(names, len(labels)).scatter_reduce(0, place, rows, "amin")


def spread(labels: Tensor | None, count: int) -> Tensor | None:
    """Return `count` labels, each that occurs in labels [N] as often as the others or once more, in order; or None."""
    if labels is None:
        return None
    names: Tensor = labels.unique()  # [C]
    return names[torch.arange(count, device=names.device) * len(names) // count]
