"""The testbed's distributions against their definitions; that its two forms are one is in test_autoreset."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from framework import OptionError
from framework_plugins.environments.k_armed_testbed import KArmedTestbed, KArmedTestbedVectorEnv

N = 20_000


def problems_of(**options: Any) -> KArmedTestbedVectorEnv:
    made = KArmedTestbedVectorEnv(num_envs=N, **options)
    made.reset(seed=0)
    return made


@pytest.mark.parametrize("mean", [0.0, 4.0])
def test_the_problems_are_normal_around_the_mean(mean: float) -> None:
    q = problems_of(mean=mean).q
    assert q.shape == (N, 10)
    assert stats.kstest(q.ravel(), stats.norm(mean, 1).cdf).pvalue > 0.001
    assert abs(np.corrcoef(q.T)[np.triu_indices(10, 1)]).max() < 4 / math.sqrt(N)  # the arms are independent


def test_an_arm_pays_its_q_with_noise_of_one() -> None:
    problems = problems_of()
    arms = np.random.default_rng(1).integers(0, 10, N)
    rewards, again = problems.step(arms)[1], problems.step(arms)[1]
    mine = problems.q[np.arange(N), arms]
    assert stats.kstest(rewards - mine, stats.norm(0, 1).cdf).pvalue > 0.001
    assert abs(np.corrcoef(rewards - mine, again - mine)[0, 1]) < 4 / math.sqrt(N)  # new noise at each step
    assert abs(np.corrcoef(rewards - mine, mine)[0, 1]) < 4 / math.sqrt(N)


def test_without_noise_an_arm_pays_its_q() -> None:
    problems = problems_of(reward_scale=0.0)
    np.testing.assert_array_equal(problems.step(np.full(N, 3))[1], problems.q[:, 3])


def test_the_best_arm_is_told_and_pays_the_largest_of_ten_normals() -> None:
    problems = problems_of()
    best = problems.q.argmax(axis=1)
    _, rewards, _, _, infos = problems.step(best)
    assert infos["optimal"].dtype == np.bool_
    assert infos["optimal"].all()
    assert not problems.step((best + 1) % 10)[4]["optimal"].any()
    # E max of ten standard normals, by its density 10 x φ(x) Φ(x)⁹: 1.5388.
    expected = quad(lambda x: 10 * x * stats.norm.pdf(x) * stats.norm.cdf(x) ** 9, -8, 8)[0]
    assert abs(rewards.mean() - expected) < 4 * rewards.std() / math.sqrt(N)


def test_a_stationary_problem_stays_and_a_drifting_one_walks() -> None:
    still, walking = problems_of(), problems_of(drift=0.1)
    first = walking.q
    for _ in range(25):
        before = walking.q
        told = walking.step(np.zeros(N, dtype=np.int64))[4]
        still.step(np.zeros(N, dtype=np.int64))
        np.testing.assert_array_equal(told["q"], before)  # what it paid by, not what follows
        np.testing.assert_array_equal(told["optimal"], before.argmax(axis=1) == 0)
    np.testing.assert_array_equal(still.q, first)  # the same draws
    # Twenty-five steps of 0.1: a standard deviation of 0.5.
    assert stats.kstest((walking.q - first).ravel(), stats.norm(0, 0.5).cdf).pvalue > 0.001


def test_nothing_of_the_problem_is_observed() -> None:
    problems = problems_of(max_episode_steps=3)
    for _ in range(8):
        observations = problems.step(np.zeros(N, dtype=np.int64))[0]
        assert not observations.any()
    assert gymnasium.make("fw/KArmedTestbed-v0").observation_space == gymnasium.spaces.Discrete(1)


def test_the_time_limit_brings_a_new_problem() -> None:
    problem = gymnasium.make("fw/KArmedTestbed-v0", max_episode_steps=4)
    problem.reset(seed=0)
    steps = [problem.step(np.int64(0)) for _ in range(4)]
    assert [step[2:4] for step in steps] == [(False, False)] * 3 + [(False, True)]
    problem.reset()
    assert not np.array_equal(problem.step(np.int64(0))[4]["q"], steps[0][4]["q"])


@pytest.mark.parametrize("kind", [KArmedTestbed, KArmedTestbedVectorEnv])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": 0}, "arms: expected 1 or more, found 0"),
        ({"drift": -0.1}, "drift: expected a finite number, 0 or more, found -0.1"),
        ({"reward_scale": math.nan}, "reward_scale: expected a finite number, 0 or more, found nan"),
    ],
)
def test_an_option_that_cannot_be_is_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        kind(**options)
    assert str(caught.value) == message
