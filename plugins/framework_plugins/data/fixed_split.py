"""A split of data that come without one: the same in every run, whatever its seed."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.randomness import key


def fixed_split(sizes: tuple[int, int, int], name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows of a training, a validation and a test set, drawn without replacement from 0 … sum(sizes) - 1.

    A function of its arguments alone: all runs are fitted to, and judged on, the same examples.

    Args:
        sizes: the examples in each of the three.
        name: the data set's, so that two of them are shuffled differently.

    Returns:
        Three int64 tensors of these sizes.

    Example:
        >>> [len(rows) for rows in fixed_split((6, 2, 2), "ten")]
        [6, 2, 2]
    """
    generator = torch.Generator().manual_seed(key(0, f"{name}/split", 0))
    order = torch.randperm(sum(sizes), generator=generator)
    train, validation, test = torch.split(order, list(sizes))
    return train, validation, test
