"""Samples that are not of as many runs as there are replicas are refused."""

from __future__ import annotations

import pytest
import torch

from framework import OptionError, Samples
from framework_plugins.baselines.replicas import check_replicas, check_runs


def samples(count: int) -> Samples:
    return Samples(torch.zeros(count, 2), torch.zeros(count, 2))


def test_one_replica_takes_any_number_of_samples_and_more_take_theirs() -> None:
    check_replicas(1)
    check_runs(samples(7), 1)
    check_runs(samples(3), 3)


@pytest.mark.parametrize("count", [1, 4])
def test_another_number_is_refused(count: int) -> None:
    with pytest.raises(OptionError) as caught:
        check_runs(samples(count), 3)
    assert str(caught.value) == (
        f"replicas: expected samples [K, B] whose K is the run, found 3, and samples of {count}; "
        "write as many environments as replicas: 3"
    )


def test_no_replica_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        check_replicas(0)
    assert str(caught.value) == "replicas: expected 1 or more, found 0"
