"""The fixed split: a partition, the same for ever, another for another data set."""

from __future__ import annotations

import torch

from framework_plugins.data.fixed_split import fixed_split


def test_every_row_is_in_one_of_the_three() -> None:
    rows = fixed_split((80, 11, 9), "anything")
    assert [len(part) for part in rows] == [80, 11, 9]
    assert sorted(torch.cat(rows).tolist()) == list(range(100))


def test_it_does_not_depend_on_what_was_drawn_before() -> None:
    torch.manual_seed(1)
    one = fixed_split((8, 1, 1), "anything")
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one, fixed_split((8, 1, 1), "anything"), strict=True))


def test_another_name_gives_another_split() -> None:
    assert not torch.equal(fixed_split((80, 10, 10), "one")[0], fixed_split((80, 10, 10), "other")[0])


def test_it_is_the_split_that_earlier_numbers_were_taken_on() -> None:
    # Recorded when it was written: a change here, or in torch's shuffle, makes old and new numbers incomparable.
    train, validation, test = fixed_split((6, 2, 2), "ten")
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([1, 3, 0, 4, 8, 7], [9, 5], [2, 6])
