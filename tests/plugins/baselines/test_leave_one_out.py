"""The mean of the others, with a mask and without, against the others averaged one by one."""

from __future__ import annotations

import doctest

import pytest
import torch

from framework import OptionError, Samples
from framework_plugins.baselines import leave_one_out
from framework_plugins.baselines.leave_one_out import LeaveOneOut

RETURNS = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MASK = torch.rand(5, 40, generator=torch.Generator().manual_seed(1)) < 0.4


@pytest.mark.parametrize("mask", [None, torch.ones_like(MASK), MASK, torch.zeros_like(MASK)])
def test_it_is_the_mean_of_the_others_that_there_are(mask: torch.Tensor | None) -> None:
    found = LeaveOneOut()(Samples(RETURNS, RETURNS, mask=mask))
    for k in range(5):
        for i in range(40):
            others = [j for j in range(5) if j != k and (mask is None or mask[j, i])]
            expected = sum(RETURNS[j, i].item() for j in others) / max(1, len(others))
            assert found[k, i].item() == pytest.approx(expected, abs=1e-14)


def test_the_mask_of_these_tests_leaves_any_number_in() -> None:
    assert set(MASK.sum(0).tolist()) >= {0, 1, 2, 3}


def test_a_sample_alone_has_the_baseline_0() -> None:
    assert LeaveOneOut()(Samples(RETURNS[:1], RETURNS[:1])).eq(0).all()


def test_what_is_masked_may_be_no_number() -> None:
    returns = torch.tensor([[1.0], [float("nan")], [3.0]])
    mask = torch.tensor([[True], [False], [True]])
    assert LeaveOneOut()(Samples(returns, returns, mask=mask))[mask].tolist() == [3.0, 1.0]


def test_several_runs_are_refused() -> None:
    with pytest.raises(OptionError) as caught:
        LeaveOneOut(replicas=4)
    assert str(caught.value) == (
        "replicas: expected 1: the samples of other runs are of other policies, found 4; "
        "write a baseline that keeps the runs apart, such as moving_average"
    )


def test_the_examples_run() -> None:
    results = doctest.testmod(leave_one_out)
    assert results.attempted > 0
    assert results.failed == 0
