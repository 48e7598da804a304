"""A gymnasium environment of a finite Markov decision process: what is exactly known of one, and can be acted in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from framework.markov import FiniteMDP

_numbers = itertools.count()  # several may be registered at once


class ProcessEnv(gymnasium.Env[np.int64, np.int64]):
    """The process: its states are observed, its rewards are the expected ones, each step may end the episode."""

    def __init__(self, *, mdp: FiniteMDP) -> None:
        self.outcomes = np.concatenate((mdp.transitions.numpy(), mdp.termination.numpy()[..., None]), -1)
        self.rewards, self.start = mdp.rewards.numpy(), mdp.start.numpy()
        self.observation_space, self.action_space = Discrete(mdp.states), Discrete(mdp.actions)
        self.state = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.np_random.choice(len(self.start), p=self.start))
        return np.int64(self.state), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        chances, reward = self.outcomes[self.state, action], float(self.rewards[self.state, action])
        following = int(self.np_random.choice(len(chances), p=chances))
        ends = following == len(self.start)
        self.state = self.state if ends else following
        return np.int64(self.state), reward, ends, False, {}


@contextmanager
def registered(mdp: FiniteMDP) -> Iterator[str]:
    """Have the process in gymnasium's registry; gives its name there."""
    name = f"test/Process{next(_numbers)}-v0"
    gymnasium.register(name, ProcessEnv, kwargs={"mdp": mdp})
    try:
        yield name
    finally:
        gymnasium.registry.pop(name)
