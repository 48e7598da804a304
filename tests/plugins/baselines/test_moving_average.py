"""The moving average: of the samples before these, of each run its own, and of what the mask leaves in."""

from __future__ import annotations

import doctest

import pytest
import torch

from framework import OptionError, Samples
from framework_plugins.baselines import moving_average
from framework_plugins.baselines.moving_average import MovingAverage


def samples(returns: list[list[float]], mask: list[list[bool]] | None = None) -> Samples:
    numbers = torch.tensor(returns)
    return Samples(torch.zeros_like(numbers), numbers, mask=None if mask is None else torch.tensor(mask))


FIRST, SECOND = samples([[1.0, 2.0], [3.0, 6.0]]), samples([[0.0, 4.0], [8.0, 8.0]])


def test_it_is_the_average_before_the_batch() -> None:
    baseline = MovingAverage()
    assert baseline(FIRST).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    baseline.update(FIRST)
    assert baseline(SECOND).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    baseline.update(SECOND)
    assert baseline(samples([[100.0]])).tolist() == [[4.0]]  # (12 + 20)/8, whatever the shape


def test_with_decay_the_newer_batch_counts_more() -> None:
    baseline = MovingAverage(decay=0.5)
    baseline.update(FIRST)
    assert baseline(SECOND)[0, 0].item() == 3.0  # not 1.5: what it started at is corrected for
    baseline.update(SECOND)
    assert baseline(FIRST)[0, 0].item() == pytest.approx((0.5 * 3 + 5) / 1.5)


def test_each_replica_has_its_own() -> None:
    baseline = MovingAverage(replicas=2)
    baseline.update(FIRST)
    assert baseline(SECOND).tolist() == [[1.5, 1.5], [4.5, 4.5]]
    alone = MovingAverage()
    alone.update(samples([[3.0, 6.0]]))
    assert alone(samples([[0.0]])).item() == 4.5
    with pytest.raises(OptionError, match="whose K is the run, found 2, and samples of 1"):
        baseline.update(samples([[1.0]]))


def test_what_is_masked_does_not_count_and_a_run_without_samples_stays() -> None:
    baseline = MovingAverage(replicas=2)
    baseline.update(samples([[1.0, 5.0], [float("nan"), 7.0]], [[True, True], [False, False]]))
    assert baseline(SECOND).tolist() == [[3.0, 3.0], [0.0, 0.0]]
    baseline.update(samples([[9.0, 0.0], [2.0, 0.0]], [[True, False], [True, False]]))
    assert baseline(SECOND).tolist() == [[5.0, 5.0], [2.0, 2.0]]


def test_an_update_does_not_change_what_was_returned() -> None:
    baseline = MovingAverage()
    before = baseline(FIRST)
    baseline.update(FIRST)
    assert not before.any()


def test_the_examples_run() -> None:
    results = doctest.testmod(moving_average)
    assert results.attempted > 0
    assert results.failed == 0
