"""Running means against the mean of everything at once, and against Adam's correction written out."""

from __future__ import annotations

import doctest

import pytest
import torch

from framework import OptionError
from framework.distributed import rank, world_size
from framework_plugins.baselines import running_mean
from framework_plugins.baselines.running_mean import RunningMean
from tests.framework.processes import on_ranks


def batches(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What came to three cells in each batch, [batches, 3, 4], and how many of the four count; to the last one none."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(count, 3, 4, generator=generator, dtype=torch.float64)
    counts = torch.randint(0, 5, (count, 3), generator=generator)
    counts[0, 0], counts[:, 2] = 0, 0
    return values.masked_fill(torch.arange(4) >= counts[..., None], 0), counts


def test_without_decay_it_is_the_mean_of_all_there_were() -> None:
    values, counts = batches(20)
    running = RunningMean(3, decay=None).double()
    for now in range(20):
        running.update(sums=values[now].sum(-1), counts=counts[now])
        # float64: a few roundings for each of 20 batches
        expected = values[: now + 1].sum((0, 2)) / counts[: now + 1].sum(0).clamp(min=1)
        torch.testing.assert_close(running.mean, expected, rtol=1e-13, atol=1e-13)
    assert running.mean[2] == 0


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_with_decay_it_is_adams_corrected_average_of_the_batches_means(decay: float) -> None:
    values, counts = batches(20)
    running = RunningMean(3, decay=decay).double()
    moment, power = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    for now in range(20):
        running.update(sums=values[now].sum(-1), counts=counts[now])
        for cell in range(3):
            if counts[now, cell]:
                mean = (values[now, cell].sum() / counts[now, cell]).item()
                moment[cell] = decay * moment[cell] + (1 - decay) * mean
                power[cell] *= decay
            expected = moment[cell] / (1 - power[cell]) if power[cell] < 1 else 0.0
            assert running.mean[cell].item() == pytest.approx(expected, abs=1e-13)
    assert running.mean[2] == 0


def test_a_long_run_in_float32_stays_at_the_mean() -> None:
    running = RunningMean(1, decay=None)
    running.weight.fill_(2.0**24)  # beyond which float32 cannot count by one
    running.mean.fill_(3.0)
    for _ in range(100):
        running.update(sums=torch.tensor([3.0]), counts=torch.tensor([1]))
    assert running.mean.item() == 3.0


def update_in_parts() -> tuple[list[float], list[float]]:
    values, counts = batches(4)
    plain, decaying = RunningMean(3, decay=None).double(), RunningMean(3, decay=0.5).double()
    for first in (0, 2):
        here = first + rank()
        for running in (plain, decaying):
            running.update(sums=values[here].sum(-1), counts=counts[here])
    assert world_size() == 2
    return plain.mean.tolist(), decaying.mean.tolist()


def test_on_several_processes_it_is_of_what_came_to_all() -> None:
    values, counts = batches(4)
    plain, decaying = RunningMean(3, decay=None).double(), RunningMean(3, decay=0.5).double()
    for both in (slice(0, 2), slice(2, 4)):
        for running in (plain, decaying):
            running.update(sums=values[both].sum((0, 2)), counts=counts[both].sum(0))
    for found in on_ranks(2, update_in_parts):
        for means, running in zip(found, (plain, decaying), strict=True):
            assert means == pytest.approx(running.mean.tolist(), abs=1e-13)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(OptionError) as caught:
        RunningMean(1, decay=decay)
    assert str(caught.value) == (f"decay: expected a number in [0, 1), or null for the plain average, found {decay}")


def test_the_examples_run() -> None:
    results = doctest.testmod(running_mean)
    assert results.attempted > 0
    assert results.failed == 0
