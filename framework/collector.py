"""Collecting: vector environments and whoever acts in them → rollouts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, overload

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from framework.environment import Environments, autoreset_mode, reset_seeds
from framework.environment_state import FEW, capture, is_restorable, restore
from framework.errors import OptionError
from framework.object_state import NotCapturable
from framework.randomness import key
from framework.rollout import Rollout
from framework.tape import Act, Moment, Tape, allowed_by

ROWS = 256  # steps for which a rollout of whole episodes first makes room; it doubles when they are filled


class Collector:
    """Acts in vector environments and writes down what happens.

    Both manners of autoreset give the same decisions: under NEXT_STEP the step after an end is a dummy and masked,
    under SAME_STEP the true last observation stands among the rollout's ends. Besides observation and action, what a
    masked step holds is 0.

    Observations of float64 become float32; other kinds stay. Actions go to the environments as they are drawn, except
    that those of a box are clipped to it, and those of a discrete space that begins elsewhere than at 0 are shifted
    there; the rollout holds what was drawn.

    Args:
        environment: N environments, stepped together.
        seed: the run's seed.
        stream: what the environments' seeds are a function of, besides: "train", "evaluation".

    Attributes:
        episodes: the undiscounted return and the length (steps) of each episode that has ended, in that order, since
            they were last drained.

    Raises:
        OptionError: the environments do not reset by themselves, or do not say how.

    Example:
        >>> collector = Collector(gymnasium.make_vec("CartPole-v1", num_envs=4), seed=0, stream="train")
        >>> collector.collect(lambda observation, allowed: torch.ones(4, dtype=torch.int64), steps=16).reward.shape
        torch.Size([16, 4])
    """

    def __init__(self, environment: Environments, *, seed: int, stream: str) -> None:
        mode = autoreset_mode(environment)
        if mode is AutoresetMode.DISABLED:
            raise OptionError("autoreset", found="environments that do not reset", expected="next_step or same_step")
        self.environment, self.seed, self.stream = environment, seed, stream
        self.episodes: list[tuple[float, int]] = []
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._moment: Moment | None = None
        self._beginning = 0  # what the next new episodes are a function of

    def collect(self, act: Act, steps: int) -> Rollout:
        """Take some steps in each environment, from where the last ones led to; at first, from new episodes.

        Nothing stops it on the way: half of the steps would leave the environments where no whole rollout has led them,
        and the state that the rollout began with is gone.

        Args:
            act: observations [N, *shape] and the actions allowed [N, *choices], None where all are, to actions
                [N, *action shape]. It sees the rollout's own memory, and does not write to it.
            steps: T, 1 or more.

        Returns:
            A rollout of T steps.
        """
        moment = self._moment or self._begin(self._beginning)
        tape = Tape(self.environment, moment, steps, same_step=self._same_step, whole=False)
        self._moment = None  # should a step fail, nothing can go on from here
        for _ in range(steps):
            tape.step(act)
        self.episodes += tape.episodes
        self._moment = tape.moment
        return tape.rollout()

    @overload
    def collect_episodes(self, act: Act, number: int, limit: int | None = None) -> Rollout: ...

    @overload
    def collect_episodes(
        self, act: Act, number: int, limit: int | None = None, *, stopping: Callable[[], bool]
    ) -> Rollout | None: ...

    def collect_episodes(
        self, act: Act, number: int, limit: int | None = None, *, stopping: Callable[[], bool] | None = None
    ) -> Rollout | None:
        """Take one whole episode in each environment, from its beginning.

        Nothing goes on afterwards: `collect` begins new episodes.

        Args:
            act: as of `collect`.
            number: which episodes they are: the environments' seeds are a function of it.
            limit: steps, 1 or more, after which an episode that has not ended is truncated; None is never.
            stopping: asked before each step whether to give up; None is never.

        Returns:
            A rollout as long as the longest episode; what comes after an episode's end is masked. None where it was
            given up: nothing of it is kept, and the same number gives the same episodes again.
        """
        self._moment = None
        rows = ROWS if limit is None else min(ROWS, limit)
        tape = Tape(self.environment, self._begin(number), rows, same_step=self._same_step, whole=True)
        while not tape.all_rest:
            if stopping is not None and stopping():
                return None
            tape.step(act)
            if tape.length == limit:
                tape.cut()
        self.episodes += tape.episodes
        return tape.rollout()

    def drain(self) -> list[tuple[float, int]]:
        """Return the episodes that have ended since the last call, and forget them."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def begin_anew(self, number: int) -> None:
        """Let the next call of `collect` begin new episodes: for environments whose state cannot be kept.

        Args:
            number: what the environments' seeds are a function of; the first ones are those of 0.
        """
        self._moment, self._beginning = None, number

    def check_restorable(self) -> bool:
        """Return whether the environments' state can be captured and restored; tried on new ones of their kind."""
        spec = self.environment.spec
        if spec is None:  # nobody knows how to make another: it is enough that nothing in them resists
            try:
                capture(self.environment)
            except NotCapturable:
                return False
            return True
        few = copy.deepcopy(spec)
        few.kwargs["num_envs"] = min(FEW, self.environment.num_envs)
        return is_restorable(lambda: gymnasium.make_vec(few))

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit, in plain containers and tensors.

        Raises:
            NotCapturable: the environments hold what cannot be written down.
        """
        held: dict[str, Any] = {"beginning": self._beginning, "episodes": [list(one) for one in self.episodes]}
        if self._moment is None:
            return {**held, "moment": None, "environment": None}
        moment = {name: None if value is None else torch.tensor(value) for name, value in vars(self._moment).items()}
        return {**held, "moment": moment, "environment": capture(self.environment)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the environments have been made by the same recipe."""
        self._beginning, self.episodes = state["beginning"], [(one[0], one[1]) for one in state["episodes"]]
        self._moment = None
        if state["moment"] is not None:
            restore(self.environment, state["environment"])
            held: Any = {name: None if one is None else one.numpy().copy() for name, one in state["moment"].items()}
            self._moment = Moment(**held)

    def _begin(self, number: int) -> Moment:
        """Begin new episodes, which are a function of (seed, stream, number)."""
        count, together = self.environment.num_envs, key(self.seed, self.stream, number)
        seeds = reset_seeds(self.environment, together, lambda i: key(self.seed, f"{self.stream}/{i}", number))
        observation, infos = self.environment.reset(seed=seeds)
        none = np.zeros(count, dtype=np.bool_)  # [N]
        space = self.environment.single_action_space
        allowed = allowed_by(infos, none, space) if "action_mask" in infos else None
        return Moment(np.asarray(observation), allowed, none, np.zeros(count, dtype=np.int64), np.zeros(count))
