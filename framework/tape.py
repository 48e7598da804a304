"""What happens in vector environments, written down step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor

from framework.environment import Environments
from framework.errors import OptionError
from framework.rollout import Rollout

Act = Callable[[Tensor, Tensor | None], Tensor]
Array = NDArray[Any]


@dataclass
class Moment:
    """Where N environments have come to.

    Args:
        observation: [N, *shape].
        allowed: [N, *choices] bool, the actions that are; None where all are.
        resting: [N] bool, whether the next step is none: the dummy after an end.
        time: [N] int64, of the next step in its episode.
        returns: [N] float64, so far, of the episodes that are going on.
    """

    observation: Array
    allowed: Array | None
    resting: Array
    time: Array
    returns: Array


class Tape:
    """Arrays [T, N, …] that are filled from the top, one row a step.

    Args:
        environment: N environments.
        start: where they are; changed by what happens.
        rows: steps to make room for; doubled when they are filled.
        same_step: whether the step that ends an episode returns the next one's first observation; otherwise a dummy
            does.
        whole: whether one episode of each environment is written down, and nothing after it.
    """

    def __init__(self, environment: Environments, start: Moment, rows: int, *, same_step: bool, whole: bool) -> None:
        self.environment, self.moment, self.rows, self.length = environment, start, rows, 0
        self.episodes: list[tuple[float, int]] = []  # return and length of those that have ended
        self._same_step, self._whole = same_step, whole
        self._some_rest = bool(start.resting.any())
        count, space = environment.num_envs, environment.single_observation_space
        kind: Any = np.float32 if np.issubdtype(space.dtype, np.floating) else space.dtype
        self._observation = np.empty((rows + 1, count, *(space.shape or ())), dtype=kind)  # [T + 1, N, *shape]
        self._observation[0] = start.observation
        self._reward = np.empty((rows, count), dtype=np.float32)  # [T, N]
        self._terminated = np.empty((rows, count), dtype=np.bool_)  # [T, N]
        self._truncated = np.empty((rows, count), dtype=np.bool_)  # [T, N]
        self._mask = np.ones((rows, count), dtype=np.bool_)  # [T, N]
        self._time = np.empty((rows, count), dtype=np.int64)  # [T, N]
        self._action: Array | None = None  # [T, N, *action shape], from the first step on
        self._allowed: Array | None = None  # [T + 1, N, *choices], where not all are
        self._optimal: Array | None = None  # [T, N], where the environments tell
        self._end_rows: list[tuple[int, int]] = []
        self._end_observations: list[Array] = []
        self._end_allowed: list[Array | None] = []
        self._prepared = preparation(environment.single_action_space)
        self._views = torch.from_numpy(self._observation).unbind()
        self._allowed_views: tuple[Tensor, ...] | None = None
        if start.allowed is not None:
            self._write_allowed(0, start.allowed)

    @property
    def all_rest(self) -> bool:
        """Whether no environment has anything left to be written down."""
        return bool(self.moment.resting.all())

    def step(self, act: Act) -> None:
        """Take one step in every environment."""
        t, moment = self.length, self.moment
        if t == self.rows:
            self._double()
        drawn = act(self._views[t], None if self._allowed_views is None else self._allowed_views[t])
        action: Array = drawn.detach().cpu().numpy()
        if self._action is None:
            self._action = np.empty((self.rows, *action.shape), dtype=action.dtype)
        self._action[t] = action
        observation, reward, terminated, truncated, infos = self.environment.step(self._prepared(action))
        if self._some_rest:
            active = ~moment.resting
            self._mask[t] = active
            reward, terminated, truncated = np.where(active, reward, 0.0), terminated & active, truncated & active
        self._observation[t + 1] = observation
        self._reward[t], self._terminated[t], self._truncated[t] = reward, terminated, truncated
        self._time[t] = moment.time
        moment.time += 1
        moment.returns += reward
        if infos or self._allowed is not None:
            self._read(t, infos)
        self.length = t + 1
        ended = terminated | truncated
        if self._some_rest or np.count_nonzero(ended):
            self._turn(t, ended)

    def cut(self) -> None:
        """Truncate the episodes that are going on."""
        active = ~self.moment.resting
        self._truncated[self.length - 1] |= active
        self._turn(self.length - 1, active)

    def rollout(self) -> Rollout:
        """Return what has happened. The moment's observation and actions are now those that the last step led to."""
        steps = self.length
        assert self._action is not None, "a rollout has one step or more"
        self.moment.observation = self._observation[steps].copy()
        self.moment.allowed = None if self._allowed is None else self._allowed[steps].copy()
        ends = np.zeros((len(self._end_rows), *self._observation.shape[2:]), dtype=self._observation.dtype)
        for place, observation in enumerate(self._end_observations):
            ends[place] = observation
        end_masks: Array | None = None  # [E, *choices]
        if self._allowed is not None:
            end_masks = np.ones((len(self._end_rows), *self._allowed.shape[2:]), dtype=np.bool_)
            for place, allowed in enumerate(self._end_allowed):
                end_masks[place] = True if allowed is None else allowed
        return Rollout(
            observation=torch.from_numpy(self._observation[: steps + 1]),
            action=torch.from_numpy(self._action[:steps]),
            reward=torch.from_numpy(self._reward[:steps]),
            terminated=torch.from_numpy(self._terminated[:steps]),
            truncated=torch.from_numpy(self._truncated[:steps]),
            mask=torch.from_numpy(self._mask[:steps]),
            time=torch.from_numpy(self._time[:steps]),
            action_mask=None if self._allowed is None else torch.from_numpy(self._allowed[: steps + 1]),
            optimal=None if self._optimal is None else torch.from_numpy(self._optimal[:steps]),
            end_rows=torch.tensor(self._end_rows, dtype=torch.int64).reshape(-1, 2),
            end_observations=torch.from_numpy(ends),
            end_action_masks=None if end_masks is None else torch.from_numpy(end_masks),
        )

    def _turn(self, t: int, ended: Array) -> None:
        """Note the episodes that have ended [N], and what the environments do next."""
        moment, rows = self.moment, np.flatnonzero(ended)
        self.episodes += zip(moment.returns[rows].tolist(), moment.time[rows].tolist(), strict=True)
        if self._some_rest:  # the step was none of theirs; unless whole episodes are wanted, the next one is
            self._time[t, moment.resting] = 0
            moment.time[moment.resting] = 0
        moment.returns[rows] = 0.0
        if self._same_step and not self._whole:
            moment.time[rows] = 0
            return
        moment.resting = moment.resting | ended if self._whole else ended
        self._some_rest = self._whole or rows.size > 0

    def _read(self, t: int, infos: dict[str, Any]) -> None:
        active, ended = self._mask[t], self._terminated[t] | self._truncated[t]
        final, space = infos.get("final_info", {}), self.environment.single_action_space
        if "action_mask" in infos:
            self._write_allowed(t + 1, allowed_by(infos, ended, space))
        elif self._allowed is not None:
            self._allowed[t + 1] = True
        optimal = _of_this_step(infos, "optimal")
        if optimal is not None:
            if self._optimal is None:
                self._optimal = np.zeros((self.rows, len(active)), dtype=np.bool_)
            self._optimal[t] = optimal & active
        if "final_obs" in infos:
            rows = np.flatnonzero(infos["_final_obs"] & active).tolist()
            self._end_rows += [(t, row) for row in rows]
            self._end_observations += [infos["final_obs"][row] for row in rows]
            masks = allowed_by(final, ended, space) if "action_mask" in final else None
            self._end_allowed += [None if masks is None else masks[row] for row in rows]

    def _write_allowed(self, row: int, allowed: Array) -> None:
        if self._allowed is None:
            self._allowed = np.ones((self.rows + 1, *allowed.shape), dtype=np.bool_)
            self._allowed_views = torch.from_numpy(self._allowed).unbind()
        self._allowed[row] = allowed

    def _double(self) -> None:
        for name in (
            "observation",
            "reward",
            "terminated",
            "truncated",
            "mask",
            "time",
            "action",
            "allowed",
            "optimal",
        ):
            array = getattr(self, f"_{name}")
            if array is not None:
                # Ones, for the mask and for what is allowed; all else is written to before it is read.
                setattr(self, f"_{name}", np.concatenate((array, np.ones_like(array[: self.rows]))))
        self.rows *= 2
        self._views = torch.from_numpy(self._observation).unbind()
        if self._allowed is not None:
            self._allowed_views = torch.from_numpy(self._allowed).unbind()


def allowed_by(infos: dict[str, Any], ended: Array, space: Any) -> Array:
    """Return the actions that infos allow.

    Args:
        infos: of a reset or a step, with `action_mask`.
        ended: [N] bool, where an episode has just ended: an environment may allow nothing there, and no policy can draw
            from nothing; all are allowed then, and the environment ignores what is drawn.
        space: of one environment's actions.

    Returns:
        [N, *choices] bool; of a MultiDiscrete space, whose masks gymnasium has as a tuple of one for each of its
        numbers, these one after the other.

    Raises:
        OptionError: there are more entries in a mask, or fewer, than the space has choices.
    """
    allowed, known = _in_rows(infos["action_mask"]), infos.get("_action_mask")
    choices = _choices(space)
    if choices is not None:
        allowed = allowed.reshape(len(allowed), -1)
        if allowed.shape[1] != choices:
            expected = f"an environment whose info action_mask has {choices} entries, one for each choice in {space}"
            raise OptionError("environment.id", found=f"one with {allowed.shape[1]}", expected=expected)
    if known is not None:
        allowed[~known] = True
    if np.count_nonzero(ended):
        allowed[ended & ~allowed.reshape(len(allowed), -1).any(axis=1)] = True
    return allowed


def _in_rows(masks: Any) -> Array:
    """Return a copy [N, *choices] bool of masks as vector environments have them, a missing one all True.

    Those of MultiDiscrete spaces are tuples: in gymnasium's vector environments N of them in an array of objects, in an
    environment's own vector form one of arrays [N, n].
    """
    if isinstance(masks, tuple):
        return np.concatenate([np.asarray(part).reshape(len(part), -1) for part in masks], axis=1).astype(np.bool_)
    if np.asarray(masks).dtype != object:
        return np.asarray(masks).astype(np.bool_)
    joined = [None if one is None else np.concatenate([np.ravel(part) for part in one]) for one in masks]
    every = next(np.ones_like(one) for one in joined if one is not None)
    return np.stack([every if one is None else one for one in joined]).astype(np.bool_)


def _choices(space: Any) -> int | None:
    """Return how many entries the mask of a space's actions has; None where no actions can be masked."""
    if isinstance(space, Discrete):
        return int(space.n)
    return int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else None


def _of_this_step(infos: dict[str, Any], name: str) -> Array | None:
    """Return what an info [N] of bools says of the step; None where there is none, or it is no bools.

    Under SAME_STEP, that of an ending step is among the final infos.
    """
    here, final = infos.get(name), infos.get("final_info", {}).get(name)
    here, final = (one if _are_bools(one) else None for one in (here, final))
    if final is None:
        return here
    return np.where(infos["_final_info"], final, False if here is None else here)


def _are_bools(info: Any) -> bool:
    return isinstance(info, np.ndarray) and info.dtype == np.bool_


def preparation(space: Any) -> Callable[[Array], Array]:
    """Return the function that makes of actions drawn [N, *action shape] what the environments take."""
    kind = space.dtype
    if isinstance(space, Box):
        low, high = space.low, space.high
        return lambda action: np.minimum(np.maximum(action, low), high).astype(kind, copy=False)
    if isinstance(space, Discrete) and space.start != 0:
        return lambda action: (action + space.start).astype(kind, copy=False)
    return lambda action: action.astype(kind, copy=False)
