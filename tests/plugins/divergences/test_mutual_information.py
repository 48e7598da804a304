"""The mutual information against enumeration, its bounds against a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.mutual_information import MutualInformation


def estimate(bound: str, mean: Tensor, log_scale: Tensor, z: Tensor) -> float:
    q, p = DiagonalGaussian(mean, log_scale), StandardNormal(mean.shape[1], mean)
    return MutualInformation(bound=bound)(q, p, z).item()


@pytest.mark.parametrize("bound", ["lower", "upper"])
def test_it_is_the_double_sum(bound: str) -> None:
    mean, log_scale, z = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def density(i: int, j: int) -> float:  # q(z_i|x_j)
        exponent, scale = 0.0, 1.0
        for d in range(2):
            s = math.exp(log_scale[j, d])
            exponent += ((z[i, d] - mean[j, d]).item() / s) ** 2 / 2
            scale *= s * math.sqrt(2 * math.pi)
        return math.exp(-exponent) / scale

    expected = 0.0
    for i in range(4):
        others = [j for j in range(4) if bound == "lower" or j != i]
        expected += math.log(density(i, i) / (sum(density(i, j) for j in others) / len(others))) / 4
    assert estimate(bound, mean, log_scale, z) == pytest.approx(expected, rel=1e-12)


def test_examples_that_are_all_alike_have_none() -> None:
    same = torch.zeros(8, 2)
    z = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    for bound in ("lower", "upper"):
        assert estimate(bound, same, same, z) == pytest.approx(0.0, abs=1e-6)  # float32 logsumexp of 8


def test_the_lower_bound_is_log_b_when_no_two_examples_overlap() -> None:
    mean = 1000.0 * torch.arange(8.0)[:, None]
    assert estimate("lower", mean, torch.zeros(8, 1), mean) == pytest.approx(math.log(8), rel=1e-6)


def test_the_bounds_enclose_the_mutual_information_of_a_gaussian_channel() -> None:
    """x ~ N(0, I), z|x ~ N(a x, s²): I = D/2 · log(1 + a²/s²). Means over 400 batches, four standard errors."""
    a, s, dimensions, batch, repeats = 1.5, 0.8, 2, 16, 400
    exact = dimensions / 2 * math.log(1 + a**2 / s**2)
    torch.manual_seed(0)
    found: dict[str, list[float]] = {"lower": [], "upper": []}
    for _ in range(repeats):
        mean = a * torch.randn(batch, dimensions, dtype=torch.float64)
        log_scale = torch.full_like(mean, math.log(s))
        z = mean + s * torch.randn_like(mean)
        for bound, values in found.items():
            values.append(estimate(bound, mean, log_scale, z))
    lower, upper = (torch.tensor(found[bound]) for bound in ("lower", "upper"))
    errors = [4 * float(values.std()) / math.sqrt(repeats) for values in (lower, upper)]
    assert lower.mean() + errors[0] < exact < upper.mean() - errors[1]
    assert (lower <= math.log(batch)).all()


def test_the_upper_bound_needs_two_examples() -> None:
    one = torch.zeros(1, 2)
    message = (
        "^mutual_information: the upper bound leaves one example out and expects a batch of 2 or more, found 1; "
        r"write bound: lower, or a larger data\.batch_size$"
    )
    with pytest.raises(ValueError, match=message):
        estimate("upper", one, one, one)


@pytest.mark.parametrize("bound", ["lower", "upper"])
def test_it_says_which_bound_it_is(bound: str) -> None:
    assert MutualInformation(bound=bound).estimator == f"{bound} bound from the batch"
