"""Collecting: vector environments and whoever acts in them → rollouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor

from framework.environment import Environments, autoreset_mode
from framework.errors import OptionError
from framework.randomness import key
from framework.rollout import Rollout

Act = Callable[[Tensor, Tensor | None], Tensor]
Array = NDArray[Any]

ROWS = 256  # steps for which a rollout of whole episodes first makes room; it doubles when they are filled


@dataclass(frozen=True)
class _Moment:
    """Where collecting has come to in each of N environments.

    Args:
        observation: [N, *shape].
        allowed: [N, *choices] bool, the actions that are; None where all are.
        resting: [N] bool, whether the next step is a dummy.
        time: [N] int64, of the next step in its episode.
        returns: [N] float64, of the episodes that are going on, so far.
    """

    observation: Array
    allowed: Array | None
    resting: Array
    time: Array
    returns: Array


class Collector:
    """Acts in vector environments and writes down what happens.

    Both manners of autoreset give the same decisions: under NEXT_STEP the step after an end is a dummy and masked, under
    SAME_STEP the true last observation stands among the rollout's ends. What a masked step holds besides is 0.

    Observations of float64 become float32; other kinds stay. Actions go to the environments as they are drawn, except
    that those of a box are clipped to it and those of a discrete space that begins elsewhere than at 0 are shifted
    there; the rollout holds what was drawn.

    Args:
        environment: N environments, stepped together.
        seed: the run's seed.
        stream: what the environments' seeds are a function of, besides: "train", "evaluation".

    Attributes:
        episodes: the undiscounted return and the length (steps) of each episode that has ended, in that order, since
            they were last drained.
    """

    def __init__(self, environment: Environments, *, seed: int, stream: str) -> None:
        mode = autoreset_mode(environment)
        if mode is AutoresetMode.DISABLED:
            raise OptionError("autoreset", found="environments that do not reset", expected="next_step or same_step")
        self.environment, self.seed, self.stream = environment, seed, stream
        self.episodes: list[tuple[float, int]] = []
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._moment: _Moment | None = None

    def collect(self, act: Act, steps: int) -> Rollout:
        """Take some steps in each environment, from where the last ones led to; at first, from new episodes.

        Args:
            act: observations [N, *shape] and the actions allowed [N, *choices], None where all are, to actions
                [N, *action shape]; called without a graph. What it is given is written to again in no rollout.
            steps: T, 1 or more.

        Returns:
            A rollout of T steps.
        """
        start = self._moment or self._begin(0)
        tape = _Tape(self.environment, start, steps)
        for _ in range(steps):
            tape.step(act)
        rollout, self._moment = self._written(tape, start)
        return rollout

    def collect_episodes(self, act: Act, number: int, limit: int | None = None) -> Rollout:
        """Take one whole episode in each environment, from its beginning.

        Nothing goes on afterwards: the next call of `collect` begins new episodes.

        Args:
            act: as of `collect`.
            number: which episodes they are: the environments' seeds are a function of it.
            limit: steps after which an episode that has not ended is cut off; None is never.

        Returns:
            A rollout as long as the longest episode; what comes after an episode's end is masked.
        """
        start = self._begin(number)
        tape = _Tape(self.environment, start, ROWS if limit is None else min(ROWS, limit))
        ended = np.zeros(self.environment.num_envs, dtype=np.bool_)  # [N]
        while not ended.all() and tape.length != limit:
            ended |= tape.step(act)
        self._moment = None
        return self._whole(tape, start)

    def drain(self) -> list[tuple[float, int]]:
        """Return the episodes that have ended since the last call, and forget them."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def _begin(self, number: int) -> _Moment:
        """Begin new episodes, which are a function of (seed, stream, number)."""
        count = self.environment.num_envs
        seeds: Any = key(self.seed, self.stream, number) >> 32  # 31 bits, which every environment takes
        if isinstance(self.environment.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            # From one seed they would make seed + i: what environment 1 does would be what 0 does for another seed.
            seeds = [key(self.seed, f"{self.stream}/{i}", number) >> 32 for i in range(count)]
        observation, infos = self.environment.reset(seed=seeds)
        allowed = _allowed(infos, np.zeros(count, dtype=np.bool_)) if "action_mask" in infos else None
        resting, time, returns = (np.zeros(count, dtype=kind) for kind in (np.bool_, np.int64, np.float64))
        return _Moment(np.asarray(observation), allowed, resting, time, returns)

    def _written(self, tape: _Tape, start: _Moment) -> tuple[Rollout, _Moment]:
        steps = tape.length
        ended = tape.terminated[:steps] | tape.truncated[:steps]  # [T, N]
        mask = np.ones_like(ended)  # [T, N]
        begins = ended  # [T, N], whether a new episode begins after the step
        if not self._same_step:
            mask[0] = ~start.resting
            mask[1:] = ~ended[:-1]
            begins = ~mask
        clock = np.arange(steps + 1)[:, None]  # [T + 1, 1]
        first = np.where(begins, clock[1:], -start.time)  # [T, N]
        # The step, in this rollout, that was or would have been the first of the episode of each step: [T + 1, N].
        first = np.maximum.accumulate(np.concatenate((-start.time[None], first)), axis=0)
        time = clock - first  # [T + 1, N]
        returns = self._ended(tape, ended & mask, mask, time, start.returns)
        resting = np.zeros_like(start.resting) if self._same_step else ended[-1]
        allowed = None if tape.allowed is None else tape.allowed[steps].copy()
        moment = _Moment(tape.observation[steps].copy(), allowed, resting, time[-1], returns)
        return tape.rollout(mask, time[:-1]), moment

    def _whole(self, tape: _Tape, start: _Moment) -> Rollout:
        steps = tape.length
        ended = tape.terminated[:steps] | tape.truncated[:steps]  # [T, N]
        mask = np.ones_like(ended)  # [T, N]
        mask[1:] = ~np.logical_or.accumulate(ended, axis=0)[:-1]
        tape.truncated[steps - 1] |= mask[-1] & ~ended[-1]  # cut off by the limit
        ended[-1] |= tape.truncated[steps - 1]
        time = np.broadcast_to(np.arange(steps)[:, None], mask.shape)  # [T, N]
        self._ended(tape, ended & mask, mask, time, start.returns)
        return tape.rollout(mask, time)

    def _ended(self, tape: _Tape, ended: Array, mask: Array, time: Array, returns: Array) -> Array:
        """Note the episodes that have ended; return the returns [N] of those that have not, so far."""
        reward = np.where(mask, tape.reward[: tape.length], 0.0)  # [T, N]
        returns, start = returns.copy(), 0
        for t in np.flatnonzero(ended.any(axis=1)):
            returns += reward[start : t + 1].sum(axis=0)
            rows = np.flatnonzero(ended[t])
            self.episodes += zip(returns[rows].tolist(), (time[t, rows] + 1).tolist(), strict=True)
            returns[rows], start = 0.0, t + 1
        returns += reward[start:].sum(axis=0)
        return returns


class _Tape:
    """What happens, step by step: arrays [T, N, …] that are filled from the top.

    Args:
        environment: N environments.
        start: where it begins.
        rows: steps to make room for; it is doubled when they are filled.
    """

    def __init__(self, environment: Environments, start: _Moment, rows: int) -> None:
        self.environment, self.rows, self.length = environment, rows, 0
        count, space = environment.num_envs, environment.single_observation_space
        kind: Any = np.float32 if np.issubdtype(space.dtype, np.floating) else space.dtype
        self.observation = np.empty((rows + 1, count, *(space.shape or ())), dtype=kind)  # [T + 1, N, *shape]
        self.observation[0] = start.observation
        self.reward = np.empty((rows, count))  # [T, N] float64
        self.terminated = np.empty((rows, count), dtype=np.bool_)  # [T, N]
        self.truncated = np.empty((rows, count), dtype=np.bool_)  # [T, N]
        self.action: Array | None = None  # [T, N, *action shape], from the first on
        self.allowed: Array | None = None  # [T + 1, N, *choices], where some are not
        self.optimal: Array | None = None  # [T, N], where the environments tell
        self.end_rows: list[tuple[int, int]] = []
        self.end_observations: list[Array] = []
        self._prepared = _preparation(environment.single_action_space)
        self._views = torch.from_numpy(self.observation).unbind()
        self._allowed_views: tuple[Tensor, ...] | None = None
        if start.allowed is not None:
            self._write_allowed(0, start.allowed)

    def step(self, act: Act) -> Array:
        """Take one step; return which environments' episodes ended by it, [N]."""
        t = self.length
        if t == self.rows:
            self._double()
        drawn = act(self._views[t], None if self._allowed_views is None else self._allowed_views[t])
        action: Array = drawn.detach().cpu().numpy()
        if self.action is None:
            self.action = np.empty((self.rows, *action.shape), dtype=action.dtype)
        self.action[t] = action
        observation, reward, terminated, truncated, infos = self.environment.step(self._prepared(action))
        self.observation[t + 1] = observation
        self.reward[t], self.terminated[t], self.truncated[t] = reward, terminated, truncated
        ended: Array = terminated | truncated
        if infos or self._allowed_views is not None:
            self._read(t, infos, ended)
        self.length = t + 1
        return ended

    def rollout(self, mask: Array, time: Array) -> Rollout:
        """Return what has happened.

        Args:
            mask: [T, N] bool, the steps that count.
            time: [T, N] int64, in their episodes.
        """
        steps, shape = self.length, self.observation.shape[2:]
        ends = [(row, observation) for row, observation in zip(self.end_rows, self.end_observations, strict=True)]
        ends = [end for end in ends if mask[end[0]]]
        end_observations = np.zeros((len(ends), *shape), dtype=self.observation.dtype)  # [E, *shape]
        for place, (_, observation) in enumerate(ends):
            end_observations[place] = observation
        assert self.action is not None
        return Rollout(
            observation=torch.from_numpy(self.observation[: steps + 1]),
            action=torch.from_numpy(self.action[:steps]),
            reward=torch.from_numpy(np.where(mask, self.reward[:steps], 0.0).astype(np.float32)),
            terminated=torch.from_numpy(self.terminated[:steps] & mask),
            truncated=torch.from_numpy(self.truncated[:steps] & mask),
            mask=torch.from_numpy(mask),
            time=torch.from_numpy(np.where(mask, time, 0)),
            action_mask=None if self.allowed is None else torch.from_numpy(self.allowed[: steps + 1]),
            optimal=None if self.optimal is None else torch.from_numpy(self.optimal[:steps] & mask),
            end_rows=torch.tensor([row for row, _ in ends], dtype=torch.int64).reshape(-1, 2),
            end_observations=torch.from_numpy(end_observations),
        )

    def _read(self, t: int, infos: dict[str, Any], ended: Array) -> None:
        if "action_mask" in infos:
            self._write_allowed(t + 1, _allowed(infos, ended))
        elif self.allowed is not None:
            self.allowed[t + 1] = True
        if "optimal" in infos or "optimal" in infos.get("final_info", {}):
            if self.optimal is None:
                self.optimal = np.zeros((self.rows, self.environment.num_envs), dtype=np.bool_)
            self.optimal[t] = _of_this_step(infos, "optimal")
        if "final_obs" in infos:
            rows = np.flatnonzero(infos["_final_obs"]).tolist()
            self.end_rows += [(t, row) for row in rows]
            self.end_observations += [infos["final_obs"][row] for row in rows]

    def _write_allowed(self, row: int, allowed: Array) -> None:
        if self.allowed is None:
            self.allowed = np.ones((self.rows + 1, *allowed.shape), dtype=np.bool_)
            self._allowed_views = torch.from_numpy(self.allowed).unbind()
        self.allowed[row] = allowed

    def _double(self) -> None:
        for name in ("observation", "reward", "terminated", "truncated", "action", "allowed", "optimal"):
            array = getattr(self, name)
            if array is not None:
                setattr(self, name, np.concatenate((array, np.zeros_like(array[: self.rows]))))
        self.rows *= 2
        self._views = torch.from_numpy(self.observation).unbind()
        if self.allowed is not None:
            self._allowed_views = torch.from_numpy(self.allowed).unbind()


def _preparation(space: Any) -> Callable[[Array], Array]:
    """Return the function that makes of actions drawn [N, *action shape] what the environments take."""
    kind = space.dtype
    if isinstance(space, Box):
        low, high = space.low, space.high
        return lambda action: np.minimum(np.maximum(action, low), high).astype(kind, copy=False)
    if isinstance(space, Discrete) and space.start != 0:
        return lambda action: (action + space.start).astype(kind, copy=False)
    return lambda action: action.astype(kind, copy=False)


def _allowed(infos: dict[str, Any], ended: Array) -> Array:
    """Return the actions that are allowed now [N, *choices]; where an episode has ended and nothing is, all of them."""
    allowed = np.asarray(infos["action_mask"]).astype(np.bool_)  # a copy
    known = infos.get("_action_mask")
    if known is not None:
        allowed[~known] = True
    if ended.any():
        none = ended & ~allowed.reshape(len(allowed), -1).any(axis=1)
        allowed[none] = True
    return allowed


def _of_this_step(infos: dict[str, Any], name: str) -> Array:
    """Return what an info [N] said of the step: under SAME_STEP, that of an ending one is among the final infos."""
    final = infos.get("final_info", {})
    here = np.asarray(infos.get(name, False), dtype=np.bool_)
    return np.where(infos["_final_info"], final[name], here) if name in final else here
