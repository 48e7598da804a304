"""Which labels a conditional learner is told."""

from __future__ import annotations

import torch

from framework.labels import one_of_each, spread


def test_one_of_each_label_is_its_first_example() -> None:
    assert one_of_each(torch.tensor([7, 2, 7, 0, 2])).tolist() == [3, 1, 0]


def test_labels_are_spread_evenly_and_in_order() -> None:
    labels = spread(torch.tensor([5, 1, 5, 3]), 8)
    assert labels is not None
    assert labels.tolist() == [1, 1, 1, 3, 3, 3, 5, 5]
    assert spread(None, 8) is None
