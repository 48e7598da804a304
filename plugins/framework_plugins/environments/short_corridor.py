"""fw/ShortCorridor-v0: the short corridor with switched actions, of Sutton and Barto."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from framework_plugins.environments.autoreset import Array, AutoresetVectorEnv, Choice, Mask
from framework_plugins.environments.refusals import check_action, refuse_options, refuse_step_outside_episode

LEFT, RIGHT = 0, 1  # as in `framework.markov.short_corridor`
START, GOAL = 0, 3
# From state (row) by action (column: left, right). The first state's wall stops a step to the left; the second state
# switches the two. The goal leads to itself: the vector form moves every corridor, also those that have ended.
NEXT = np.array([[0, 1], [2, 0], [1, 3], [GOAL, GOAL]])
REWARD = -1.0  # of every step, also of the one into the goal, as the book has it; a widely copied script pays 0 there


class ShortCorridor(gymnasium.Env[np.int64, np.int64]):
    """Three states in a row and a goal, which look alike; in the second, right leads to the left and left to the right.

    The best policy is stochastic. One that goes right with probability p has from the start the expected return
    v(p) = (2p − 4) / (p (1 − p)), undiscounted; its largest value is −(6 + 4√2) = −11.66 at p = 2 − √2 = 0.586.

    * Observation: Discrete(1), always 0, int64; with `observe_state` Discrete(4), the state, the goal being 3.
    * Action: Discrete(2), 0 left and 1 right.
    * Reward: −1 for every step, also for the last.
    * End: the goal terminates. There is no limit of steps: a policy that always goes right never ends, so learning
      needs `max_episode_steps`, and v(p) is exact only without.

    Args:
        observe_state: whether the states are told apart.

    Example:
        >>> corridor = gymnasium.make("fw/ShortCorridor-v0", max_episode_steps=1000)
        >>> _ = corridor.reset(seed=0)
        >>> corridor.step(np.int64(RIGHT))[1:]
        (-1.0, False, False, {})

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, example 13.1,
    http://incompleteideas.net/book/the-book-2nd.html.
    """

    def __init__(self, *, observe_state: bool = False) -> None:
        self.observe_state = observe_state
        self.observation_space, self.action_space = Discrete(GOAL + 1 if observe_state else 1), Discrete(2)
        self.state = GOAL  # outside an episode, until the first reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        refuse_options(options)
        super().reset(seed=seed)
        self.state = START
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        refuse_step_outside_episode(self.state != GOAL)
        self.state = int(NEXT[self.state, check_action(action, 2)])
        return self._observe(), REWARD, self.state == GOAL, False, {}

    def _observe(self) -> np.int64:
        return np.int64(self.state if self.observe_state else 0)


class ShortCorridorVectorEnv(AutoresetVectorEnv):
    """N short corridors at once, in numpy arrays: each a `ShortCorridor`.

    Observations int64 [N], rewards float64 [N]; autoreset is that of `AutoresetVectorEnv`. Nothing is random.

    Args:
        num_envs: N, 1 or more.
        observe_state: whether the states are told apart.
        max_episode_steps: steps until an episode is truncated; None is never.
        autoreset_mode: what the step after an end is.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> corridors = gymnasium.make_vec("fw/ShortCorridor-v0", num_envs=2, observe_state=True)
        >>> _ = corridors.reset(seed=0)
        >>> corridors.step(np.array([RIGHT, LEFT]))[0].tolist()
        [1, 0]
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's attribute, and its type

    def __init__(
        self,
        *,
        num_envs: int = 1,
        observe_state: bool = False,
        max_episode_steps: int | None = None,
        autoreset_mode: Choice = AutoresetMode.NEXT_STEP,
    ) -> None:
        super().__init__(
            num_envs=num_envs,
            observation_space=Discrete(GOAL + 1 if observe_state else 1),
            action_space=Discrete(2),
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
        )
        self.observe_state = observe_state
        self.states = np.full(num_envs, GOAL)  # [N]

    def _begin(self, which: Mask) -> None:
        self.states = np.where(which, START, self.states)

    def _advance(self, actions: NDArray[np.int64], active: Mask) -> tuple[Array, Mask, dict[str, Array]]:
        self.states = NEXT[self.states, actions]
        return np.full(self.num_envs, REWARD), self.states == GOAL, {}

    def _observe(self) -> Array:
        return self.states.copy() if self.observe_state else np.zeros(self.num_envs, dtype=np.int64)


gymnasium.register(
    id="fw/ShortCorridor-v0",
    entry_point=f"{__name__}:ShortCorridor",
    vector_entry_point=f"{__name__}:ShortCorridorVectorEnv",
)
