"""The time-dependent baseline against means that are counted one sample after the other."""

from __future__ import annotations

import doctest

import pytest
import torch

from framework import OptionError, Samples
from framework_plugins.baselines import time_dependent
from framework_plugins.baselines.time_dependent import TimeDependent


def batch(seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    returns = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    time = torch.randint(0, 7, (3, 8), generator=generator)
    mask = torch.rand(3, 8, generator=generator) < 0.7
    return Samples(torch.zeros(3, 8), returns, time=time, mask=mask)


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_time_has_its_mean_and_later_ones_share_the_last(replicas: int) -> None:
    baseline = TimeDependent(steps=5, replicas=replicas).double()
    seen: dict[tuple[int, int], list[float]] = {}
    for seed in range(3):
        baseline.update(batch(seed))
        now = batch(seed)
        assert now.time is not None
        assert now.mask is not None
        for k, i in now.mask.nonzero().tolist():
            cell = (k if replicas > 1 else 0, min(int(now.time[k, i]), 4))
            seen.setdefault(cell, []).append(now.returns[k, i].item())
    time = torch.arange(7).expand(3, 7)
    found = baseline(Samples(torch.zeros(3, 7), torch.zeros(3, 7, dtype=torch.float64), time=time))
    for k in range(3):
        for t in range(7):
            values = seen.get((k if replicas > 1 else 0, min(t, 4)), [0.0])
            assert found[k, t].item() == pytest.approx(sum(values) / len(values), abs=1e-13)


def test_with_decay_a_time_counts_the_batches_it_was_in() -> None:
    baseline = TimeDependent(steps=2, decay=0.5)
    for returns, time in (([8.0, 2.0], [0, 1]), ([5.0, 1.0], [0, 0]), ([6.0, 7.0], [1, 1])):
        baseline.update(Samples(torch.zeros(1, 2), torch.tensor([returns]), time=torch.tensor([time])))
    found = baseline(Samples(torch.zeros(1, 2), torch.zeros(1, 2), time=torch.tensor([[0, 1]])))
    # In the first batch and in the second: (½·8 + 3)/1½. In the first and in the third: (½·2 + 6½)/1½.
    torch.testing.assert_close(found, torch.tensor([[7 / 1.5, 7.5 / 1.5]]))


def test_no_step_and_samples_without_a_time_are_refused() -> None:
    with pytest.raises(OptionError) as caught:
        TimeDependent(steps=0)
    assert str(caught.value) == "steps: expected 1 or more, found 0"
    for method in (TimeDependent(steps=1), TimeDependent(steps=1).update):
        with pytest.raises(OptionError) as caught:
            method(Samples(torch.zeros(1, 2), torch.zeros(1, 2)))
        assert str(caught.value) == (
            "baseline: expected the step in the episode of each sample, found samples without a time; "
            "write a baseline that needs none, such as leave_one_out"
        )


def test_the_examples_run() -> None:
    results = doctest.testmod(time_dependent)
    assert results.attempted > 0
    assert results.failed == 0
