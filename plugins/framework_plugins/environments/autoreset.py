"""Many environments in numpy arrays, which begin anew by themselves when their episodes end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from framework import OptionError
from framework_plugins.environments.refusals import check_actions, refuse_options, refuse_step_outside_episode

Array = NDArray[Any]
Mask = NDArray[np.bool_]  # [N], which environments
Choice = AutoresetMode | Literal["NextStep", "SameStep"]

OFFERED = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


class AutoresetVectorEnv(VectorEnv[Array, Array, Array], ABC):
    """N environments of one kind, stepped together; the episodes' ends are handled here, the dynamics by who derives.

    What comes out is what `gymnasium.vector.SyncVectorEnv` gives for N single environments inside `TimeLimit`, except
    that an info's key is there at every step, with its mask `_key` False where there is none. Rewards are float64 [N].

    * NEXT_STEP: the step after an episode's end ignores the action and returns the new episode's first observation with
      reward 0: a dummy, to be masked from loss and advantages.
    * SAME_STEP: the step that ends an episode returns the new episode's first observation; the true last one is in
      `infos["final_obs"]` (objects [N], None where no episode ended, mask `_final_obs`), its info in
      `infos["final_info"]`. Both keys are there only at a step that ends an episode.

    Environment i draws from a stream of its own, `SeedSequence(seed, spawn_key=(i,))`: its draws do not depend on how
    many others there are or on when their episodes end. Not `seed + i`, as in `SyncVectorEnv`: runs with seeds 0 and 1
    would share all their environments but one.

    Args:
        num_envs: N, 1 or more.
        observation_space: of one environment.
        action_space: of one environment; its actions count from 0.
        max_episode_steps: an episode is truncated at this many steps, 1 or more; None is never.
        autoreset_mode: what the step after an end is; also in `metadata["autoreset_mode"]`.

    Raises:
        OptionError: an option has a value that it cannot have.

    Reference: https://farama.org/Vector-Autoreset-Mode.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        observation_space: Space[Any],
        action_space: Discrete[Any],
        max_episode_steps: int | None,
        autoreset_mode: Choice,
    ) -> None:
        self.num_envs = at_least_one("num_envs", num_envs)
        if max_episode_steps is not None:
            at_least_one("max_episode_steps", max_episode_steps)
        self.max_episode_steps = max_episode_steps
        known = {name: mode for mode in OFFERED for name in (mode, mode.value)}
        if autoreset_mode not in known:
            raise OptionError("autoreset_mode", found=autoreset_mode, expected='"NextStep" or "SameStep"')
        self._same_step = known[autoreset_mode] is AutoresetMode.SAME_STEP
        self.metadata = {**self.metadata, "autoreset_mode": known[autoreset_mode]}
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._actions = int(action_space.n)
        self.generators: list[np.random.Generator] = []  # one for each environment; a new list when seeded
        self._steps = np.zeros(num_envs, dtype=np.int64)  # [N], of the episodes that are going on
        self._ended = np.zeros(num_envs, dtype=np.bool_)  # [N], whether the last step ended one

    @abstractmethod
    def _begin(self, which: Mask) -> None:
        """Begin a new episode in these environments."""

    @abstractmethod
    def _advance(self, actions: NDArray[np.int64], active: Mask) -> tuple[Array, Mask, dict[str, Array]]:
        """Take one step; for environments that are not active, draw nothing and return anything.

        Returns:
            Rewards float64 [N], terminations [N], and the infos, each [N, …], which are not written to afterwards.
        """

    @abstractmethod
    def _observe(self) -> Array:
        """Return the observations [N, …], in an array that is not written to afterwards."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode in every environment; with a seed, or the first time, from new streams.

        Raises:
            ValueError: there are options.
        """
        refuse_options(options)
        super().reset(seed=seed)
        if seed is not None or not self.generators:
            sequences = (np.random.SeedSequence(self.np_random_seed, spawn_key=(i,)) for i in range(self.num_envs))
            self.generators = [np.random.Generator(np.random.PCG64(sequence)) for sequence in sequences]
        self._begin(np.ones(self.num_envs, dtype=np.bool_))
        self._steps[:], self._ended[:] = 0, False
        return self._observe(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Take one step in every environment.

        Args:
            actions: whole numbers [N]; also where the step is a dummy.

        Returns:
            Observations [N, …], rewards float64 [N], terminations [N], truncations [N], infos.

        Raises:
            ResetNeeded: `reset` was never called.
            ValueError: an action is out of range.
        """
        refuse_step_outside_episode(bool(self.generators))
        chosen = check_actions(actions, self.num_envs, self._actions)
        resting = self._ended & (not self._same_step)
        active = ~resting
        rewards, terminations, infos = self._advance(chosen, active)
        self._steps += 1
        if self.max_episode_steps is None:
            truncations = np.zeros(self.num_envs, dtype=np.bool_)
        else:
            truncations = active & (self._steps >= self.max_episode_steps)
        terminations = active & terminations
        self._ended = terminations | truncations
        begun, final = resting, {}
        if self._same_step and self._ended.any():
            begun, final = self._ended, self._final(infos)
        if begun.any():
            self._begin(begun)
            self._steps[begun] = 0
            rewards = np.where(resting, 0.0, rewards)
        return self._observe(), rewards, terminations, truncations, masked(infos, ~begun) | final

    def _final(self, infos: dict[str, Array]) -> dict[str, Any]:
        """Return what SAME_STEP tells of the episodes that have just ended, before new ones begin."""
        observations, last = self._observe(), np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(self._ended):
            last[i] = observations[i]
        final = {"final_obs": last, "_final_obs": self._ended.copy()}
        return {**final, "final_info": masked(infos, self._ended), "_final_info": self._ended.copy()}


def masked(infos: dict[str, Array], which: Mask) -> dict[str, Array]:
    """Return infos as gymnasium has them: zero where they are not known, and beside each key the mask `_key` [N]."""
    found = {}
    for key, values in infos.items():
        shape = (-1,) + (1,) * (values.ndim - 1)
        found[key] = values if which.all() else np.where(which.reshape(shape), values, np.zeros_like(values))
        found[f"_{key}"] = which.copy()
    return found


def at_least_one(option: str, number: int) -> int:
    """Return a number that may not be below 1.

    Raises:
        OptionError: it is.
    """
    if number < 1:
        raise OptionError(option, found=number, expected="1 or more")
    return number
