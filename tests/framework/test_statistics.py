"""Statistics of several runs against other formulas, published numbers, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from framework.statistics import bootstrap_interval, describe, interquartile_mean, mean


@pytest.mark.parametrize("n", [4, 8, 12, 100])
def test_interquartile_mean_is_rliables_where_four_divides_n(n: int) -> None:
    values = np.random.default_rng(n).standard_cauchy((5, n))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=-1), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 9, 10, 11])
def test_interquartile_mean_is_that_of_four_copies(n: int) -> None:
    # Four copies have the same quantile function, and four divides their number.
    values = np.random.default_rng(n).normal(size=n)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(np.repeat(values, 4), 0.25), rel=1e-12)


def test_interquartile_mean_counts_the_edges_in_part_and_scipy_does_not() -> None:
    values = [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0, 100.0]
    assert float(interquartile_mean(values)) == (0.5 * 1 + 2 + 3 + 4 + 5 + 0.5 * 6) / 5
    skewed = [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 60.0, 100.0, 100.0]
    assert float(interquartile_mean(skewed)) != stats.trim_mean(skewed, 0.25)


def test_interquartile_mean_ignores_outliers_and_order() -> None:
    values = np.arange(20.0)
    wild = np.concatenate([values[:-2], [1e9, 1e12]])
    assert interquartile_mean(wild) == interquartile_mean(values) == interquartile_mean(values[::-1])


def test_equal_numbers_have_an_interval_of_no_width() -> None:
    for n in range(2, 12):
        assert bootstrap_interval([230.0] * n, interquartile_mean) == (230.0, 230.0)


def test_interval_is_a_function_of_the_numbers() -> None:
    values = np.random.default_rng(0).normal(size=10)
    assert bootstrap_interval(values, mean) == bootstrap_interval(values[::-1], mean)
    assert bootstrap_interval(values, mean) != bootstrap_interval(values + 1e-3, mean)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_interval_is_scipys(statistic: object) -> None:
    assert callable(statistic)
    values = np.random.default_rng(1).gamma(2.0, size=30)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: statistic(np.moveaxis(x, axis, -1)),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = theirs.high - theirs.low
    # An end is a quantile of 2,000 draws: its own standard error is about 2 % of the width.
    assert bootstrap_interval(values, statistic) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


@pytest.mark.parametrize(("statistic", "truth"), [(mean, 0.0), (interquartile_mean, 0.0)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_interval_covers_the_truth_as_often_as_it_says(statistic: object, truth: float, confidence: float) -> None:
    assert callable(statistic)
    generator, count = np.random.default_rng(3), 400
    samples = generator.normal(size=(count, 40))
    hits = 0
    for sample in samples:
        low, high = bootstrap_interval(sample, statistic, confidence=confidence, resamples=500)
        hits += low <= truth <= high
    # Two points for what the bootstrap lacks at n = 40, and three standard errors of the simulation.
    allowed = 0.02 + 3 * (confidence * (1 - confidence) / count) ** 0.5
    assert hits / count == pytest.approx(confidence, abs=allowed)


def test_one_number_has_no_interval() -> None:
    with pytest.raises(ValueError, match="expected at least two numbers to resample, found 1"):
        bootstrap_interval([1.0], mean)
    assert describe([3.0]) == {
        "n": 1,
        "mean": 3.0,
        "standard_deviation": None,
        "mean_interval": None,
        "interquartile_mean": 3.0,
        "interquartile_mean_interval": None,
    }


def test_description_of_several_numbers() -> None:
    values = [5.0, 8.0, 4.0, 38.0, 8.0, 6.0, 9.0, 7.0, 7.0, 3.0, 1.0, 6.0]
    found = describe(values)
    assert (found["n"], found["mean"], found["interquartile_mean"]) == (12, 8.5, 6.5)
    assert found["standard_deviation"] == pytest.approx(stats.tstd(values), rel=1e-12)
    for name in ("mean", "interquartile_mean"):
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high
