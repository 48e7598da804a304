from __future__ import annotations

import numpy as np
import pytest
import torch

from framework.normalization import ReturnScaler, RunningMoments, RunningNormalizer


def test_moments_in_parts_are_those_of_all_values_at_once() -> None:
    values = np.random.default_rng(0).normal(1e4, 3.0, size=(600, 2, 3))  # far from 0, where squares would cancel
    moments = RunningMoments(shape=(2, 3))
    for part in np.split(values, [1, 8, 200, 201]):
        moments.update(torch.from_numpy(part))
    # float64's ε times the ratio of mean and deviation, squared: 2·10⁻¹⁶ · 10⁷, for a sum of squares; ours is better.
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.deviations / moments.count, values.var(axis=0), rtol=1e-11)
    assert moments.count == 600


def test_what_is_masked_does_not_count_whatever_it_is() -> None:
    values = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    values[~mask] = torch.nan
    moments = RunningMoments(shape=(3,))
    moments.update(values, mask)
    moments.update(values, torch.zeros(5, 4, dtype=torch.bool))
    kept = values[mask].double().numpy()
    np.testing.assert_allclose(moments.mean, kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments().square(), kept.var(axis=0) + 1e-8, rtol=1e-12)
    assert moments.count == len(kept)


def test_values_are_standardised_and_clipped() -> None:
    normalizer = RunningNormalizer(shape=(2,), clip=1.5)
    seen = torch.tensor([[0.0, 10.0], [2.0, 30.0], [4.0, 20.0]])
    normalizer.update(seen)
    found = normalizer(torch.tensor([[[2.0, 20.0], [3.0, 30.0], [100.0, -100.0]]]))
    one = 1 / np.sqrt(8 / 3), 10 / np.sqrt(200 / 3)
    expected = [[[0.0, 0.0], list(one), [1.5, -1.5]]]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.uint8, torch.int64])
def test_before_the_first_update_nothing_is_changed_but_clipped(kind: torch.dtype) -> None:
    x = torch.tensor([0, 3, 200]).to(kind)
    torch.testing.assert_close(RunningNormalizer(shape=())(x), torch.tensor([0.0, 3.0, 10.0]))
    torch.testing.assert_close(ReturnScaler(count=1, discount=0.9)(x), torch.tensor([0.0, 3.0, 10.0]))


def test_what_never_varied_does_not_divide_by_zero() -> None:
    normalizer = RunningNormalizer(shape=(1,))
    normalizer.update(torch.full((9, 1), 7.0))
    torch.testing.assert_close(normalizer(torch.tensor([[7.0], [8.0]])), torch.tensor([[0.0], [10.0]]))


def discounted(reward: np.ndarray, ended: np.ndarray, mask: np.ndarray, discount: float) -> np.ndarray:
    """The discounted return of each step that counts, by its definition: the sum over its episode so far."""
    found = []
    for t, n in np.argwhere(mask):
        steps = [s for s in range(t + 1) if mask[s, n] and not any(ended[s:t, n])]
        found.append(sum(discount ** (len(steps) - 1 - place) * reward[s, n] for place, s in enumerate(steps)))
    return np.array(found)


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return() -> None:
    draws = np.random.default_rng(3)
    reward, ended = draws.normal(2.0, 1.0, size=(40, 3)), draws.random((40, 3)) < 0.15
    mask = np.ones_like(ended)
    mask[1:] = ~ended[:-1]  # the dummies of NEXT_STEP
    ended &= mask
    scaler = ReturnScaler(count=3, discount=0.9)
    for part in (slice(0, 1), slice(1, 17), slice(17, 40)):  # episodes go on from one rollout to the next
        scaler.update(*(torch.from_numpy(array[part]) for array in (reward, ended, mask)))
    deviation = discounted(reward, ended, mask, 0.9).std()
    assert 2 * deviation < 10  # nothing is clipped
    found = scaler(torch.tensor([1.0, -2.0]))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, np.array([1.0, -2.0]) / deviation, rtol=1e-6)  # float32
    assert scaler(torch.tensor(1e9)) == 10.0


def test_what_was_seen_is_kept_in_the_state() -> None:
    scaler, other = ReturnScaler(count=2, discount=0.5), ReturnScaler(count=2, discount=0.5)
    scaler.update(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool))
    other.load_state_dict(scaler.state_dict())
    assert other.returns.tolist() == [1.75, 1.75]
    assert other(torch.tensor(1.0)) == scaler(torch.tensor(1.0))
