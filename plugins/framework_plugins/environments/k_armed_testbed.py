"""fw/KArmedTestbed-v0: the k-armed bandit problems of Sutton and Barto."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from framework import OptionError
from framework_plugins.environments.autoreset import Array, AutoresetVectorEnv, Choice, Mask, at_least_one
from framework_plugins.environments.normal_streams import NormalStreams
from framework_plugins.environments.refusals import check_action, refuse_options, refuse_step_outside_episode


class KArmedTestbed(gymnasium.Env[np.int64, np.int64]):
    """One k-armed bandit problem: q*(a) ~ N(mean, 1), drawn by `reset`; an arm a pays N(q*(a), reward_scale²).

    * Observation: Discrete(1), always 0, int64. There is one state; q* is never shown.
    * Action: Discrete(arms), the arm.
    * Reward: the arm's pay.
    * End: none. Whoever makes it sets `max_episode_steps`; each episode is a new problem.
    * Info of a step: `optimal` (bool), whether no arm had a larger q*; `q` (float64 [arms]), the q* that it paid by.

    With `drift`, q* takes a random walk: after each step drift · N(0, 1) is added to every arm's.

    Args:
        arms: how many, 1 or more.
        mean: of q*; 4 in the experiments with gradient bandits.
        reward_scale: the standard deviation of the pay around q*, 0 or more.
        drift: the standard deviation of a step of q*, 0 or more; 0 is a stationary problem.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> problem = gymnasium.make("fw/KArmedTestbed-v0", max_episode_steps=1000)
        >>> _ = problem.reset(seed=0)
        >>> sorted(problem.step(problem.action_space.sample())[-1])
        ['optimal', 'q']

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, §2.3; exercise 2.5 for the random walk; §2.8
    for mean 4, http://incompleteideas.net/book/the-book-2nd.html.
    """

    def __init__(self, *, arms: int = 10, mean: float = 0.0, reward_scale: float = 1.0, drift: float = 0.0) -> None:
        self.arms = at_least_one("arms", arms)
        self.mean = mean
        self.reward_scale = _at_least_zero("reward_scale", reward_scale)
        self.drift = _at_least_zero("drift", drift)
        self.observation_space, self.action_space = Discrete(1), Discrete(arms)
        self.q = np.zeros(0)  # [arms] from the first reset on; never written to

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        refuse_options(options)
        super().reset(seed=seed)
        self.q = self.mean + self.np_random.standard_normal(self.arms)
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        refuse_step_outside_episode(self.q.size > 0)
        arm, q = check_action(action, self.arms), self.q
        reward = q[arm] + self.reward_scale * self.np_random.standard_normal()
        if self.drift > 0:
            self.q = q + self.drift * self.np_random.standard_normal(self.arms)
        return np.int64(0), float(reward), False, False, {"optimal": bool(q[arm] == q.max()), "q": q}


class KArmedTestbedVectorEnv(AutoresetVectorEnv):
    """N k-armed bandit problems at once, in numpy arrays; problem i is a `KArmedTestbed` with a stream of its own.

    Observations int64 [N], rewards float64 [N], infos `optimal` (bool [N]) and `q` (float64 [N, arms]); streams and
    autoreset are those of `AutoresetVectorEnv`.

    Args:
        num_envs: N, 1 or more; 2,000 in the book.
        arms: how many, 1 or more.
        mean: of q*.
        reward_scale: the standard deviation of the pay around q*, 0 or more.
        drift: the standard deviation of a step of q*, 0 or more.
        max_episode_steps: steps until the problem is replaced by a new one; None is never.
        autoreset_mode: what the step after an end is.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> problems = gymnasium.make_vec("fw/KArmedTestbed-v0", num_envs=2000, mean=4.0)
        >>> _ = problems.reset(seed=0)
        >>> problems.step(np.zeros(2000, dtype=np.int64))[1].shape
        (2000,)
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's attribute, and its type

    def __init__(
        self,
        *,
        num_envs: int = 1,
        arms: int = 10,
        mean: float = 0.0,
        reward_scale: float = 1.0,
        drift: float = 0.0,
        max_episode_steps: int | None = None,
        autoreset_mode: Choice = AutoresetMode.NEXT_STEP,
    ) -> None:
        self.arms = at_least_one("arms", arms)
        self.mean = mean
        self.reward_scale = _at_least_zero("reward_scale", reward_scale)
        self.drift = _at_least_zero("drift", drift)
        super().__init__(
            num_envs=num_envs,
            observation_space=Discrete(1),
            action_space=Discrete(arms),
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
        )
        self.q = np.zeros((num_envs, arms))  # [N, arms]; replaced, never written to, so that infos can hold it
        self._streams = NormalStreams([])
        self._first_arms = arms * np.arange(num_envs)  # [N], where a problem's arms begin

    def _begin(self, which: Mask) -> None:
        if self._streams.generators is not self.generators:  # seeded since
            self._streams = NormalStreams(self.generators)
        rows = np.flatnonzero(which)
        q = self.q.copy()
        q[rows] = self.mean + self._streams.take(rows, self.arms)
        self.q, self._best = q, q.max(axis=1)

    def _advance(self, actions: NDArray[np.int64], active: Mask) -> tuple[Array, Mask, dict[str, Array]]:
        rows, q = np.flatnonzero(active), self.q
        mine = q.take(self._first_arms + actions)  # [N]; from one long row, twice as fast as by two indices
        infos = {"optimal": mine == self._best, "q": q}
        noise = self._streams.take(rows, 1)[:, 0]
        if len(rows) == self.num_envs:
            rewards = mine + self.reward_scale * noise
        else:
            rewards = mine
            rewards[rows] += self.reward_scale * noise
        if self.drift > 0:
            walked = q.copy()
            walked[rows] += self.drift * self._streams.take(rows, self.arms)
            self.q, self._best = walked, walked.max(axis=1)
        return rewards, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _observe(self) -> Array:
        return np.zeros(self.num_envs, dtype=np.int64)


def _at_least_zero(option: str, number: float) -> float:
    if not 0 <= number < np.inf:
        raise OptionError(option, found=number, expected="a finite number, 0 or more")
    return number


gymnasium.register(
    id="fw/KArmedTestbed-v0",
    entry_point=f"{__name__}:KArmedTestbed",
    vector_entry_point=f"{__name__}:KArmedTestbedVectorEnv",
)
