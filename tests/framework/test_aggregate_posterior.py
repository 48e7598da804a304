"""The aggregate posterior, fitted by a mixture of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest, norm

from framework.aggregate_posterior import AggregatePosterior
from framework.errors import OptionError

CENTRES = np.array([[-4.0, 0.0], [4.0, 2.0]])
MIXING = np.array([[1.0, 0.0], [0.8, 0.6]])  # the covariance of each cluster is MIXING · MIXINGᵀ


def clusters(count: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    places = CENTRES[(np.arange(count) % 4 == 0).astype(int)]  # a quarter is in the second
    return places + generator.normal(size=(count, 2)) @ MIXING.T


@pytest.mark.parametrize("components", [1, 2, 5])
def test_samples_have_the_codes_moments(components: int) -> None:
    codes = clusters(2_000)
    samples = AggregatePosterior.fit(codes, components=components, seed=0).sample(20_000)
    # Expectation-maximisation keeps mean and covariance exactly; five standard errors of 20,000 samples
    np.testing.assert_allclose(samples.mean(0), codes.mean(0), atol=5 * codes.std(0).max() / 20_000**0.5)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(codes.T), atol=5 * 2 * codes.var(0).max() / 20_000**0.5)


def test_two_clusters_are_found_with_their_covariances() -> None:
    fitted = AggregatePosterior.fit(clusters(4_000), components=2, seed=0)
    assert fitted.has_converged
    order = fitted.mixture.means_[:, 0].argsort()
    # standard errors of 1,000 codes: 0.03 of a mean, 0.045 of a variance; five of them
    np.testing.assert_allclose(fitted.mixture.weights_[order], [0.75, 0.25], atol=0.01)
    np.testing.assert_allclose(fitted.mixture.means_[order], CENTRES, atol=0.16)
    np.testing.assert_allclose(fitted.mixture.covariances_[order], [MIXING @ MIXING.T] * 2, atol=0.23)


def test_samples_come_in_no_order() -> None:
    samples = AggregatePosterior.fit(clusters(2_000), components=2, seed=0).sample(4_000)
    second = samples[:, 0] > 0
    assert second.mean() == pytest.approx(0.25, abs=0.03)
    # the mean place of the members of one cluster is that of all, within five standard errors
    assert second.nonzero()[0].mean() == pytest.approx(2_000, abs=5 * 4_000 / 12**0.5 / 1_000**0.5)


def test_one_component_is_the_gaussian_of_the_codes() -> None:
    codes = np.random.default_rng(1).normal(2.0, 3.0, size=(3_000, 1))
    samples = AggregatePosterior.fit(codes, components=1, seed=0).sample(3_000)
    assert kstest(samples[:, 0], norm(codes.mean(), codes.std()).cdf).pvalue > 0.001


def test_it_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    codes = clusters(200)
    first, again, other = (AggregatePosterior.fit(codes, components=3, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.sample(50), again.sample(50))
    assert np.array_equal(first.sample(50), first.sample(50))
    assert not np.array_equal(first.sample(50), other.sample(50))


def test_codes_that_are_all_the_same_can_be_fitted() -> None:
    fitted = AggregatePosterior.fit(np.full((20, 2), 3.0), components=4, seed=0)
    np.testing.assert_allclose(fitted.sample(10), np.full((10, 2), 3.0), atol=0.01)  # the fit's least variance is 1e-6


@pytest.mark.parametrize(
    ("codes", "components", "message"),
    [
        (np.zeros((3, 2)), 0, "components: expected 1 to 3, the number of codes, found 0"),
        (np.zeros((3, 2)), 4, "components: expected 1 to 3, the number of codes, found 4"),
        (np.full((3, 2), np.nan), 1, "codes: expected codes of a learner that has learned, found some that are not fi"),
    ],
)
def test_what_cannot_be_fitted_is_refused(codes: NDArray[np.float64], components: int, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AggregatePosterior.fit(codes, components=components, seed=0)
