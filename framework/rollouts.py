"""Rollouts in environments as experience: act, learn from what came of it, act again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from framework.agent import Agent
from framework.agent_trial import watched_act, watched_parts
from framework.collector import Collector
from framework.data import Source
from framework.environment_state import FEW, forgets
from framework.episodes import play, share_cut
from framework.examples import CHUNK
from framework.experience import Experience, Progress
from framework.position import Position
from framework.randomness import Keys, key, rekey
from framework.schedule import Counters
from framework.tape import Act


class Rollouts(Experience):
    """An agent's rollouts, each gone through in minibatches, and whole episodes that judge it.

    An epoch is a rollout with all its passes. Rollouts of whole episodes begin with environments that are reset by a
    key of their own; others go on where the last one stopped.

    Args:
        agent: what acts and learns.
        seed: the run's seed.

    Attributes:
        restorable: whether a resumed run's environments go on from the very state they were in.
    """

    unit = "env_steps"
    judged_on = "evaluation"
    saves_each_epoch = False

    def __init__(self, *, agent: Agent, seed: int) -> None:
        self.agent, self.seed = agent, seed
        environment = agent.environment
        self.source = Source(environment.description, f"gymnasium {version('gymnasium')}")
        self._collector = Collector(environment.make(), seed=seed, stream="environment")
        self.restorable = True  # what does not act
        if agent.steps is None:  # nothing is kept of one rollout for the next
            self.restorable = forgets(lambda: environment.make(min(FEW, environment.num_envs)))
        elif agent.steps:
            self.restorable = self._collector.check_restorable()
        self._device = torch.device("cpu")
        self._collected = 0  # rollouts
        self._digest: dict[str, Tensor] = {}
        self._whole = agent.whole and agent.minibatches == 1
        self._pass: tuple[int, int] | None = None  # which one the minibatches are of
        self._parts: list[dict[str, Tensor]] = []  # its minibatches
        self._counts = (0, 0)  # steps and episodes of the rollout that is being learnt from
        self._sums: dict[str, Tensor] = {}  # of the metrics of the pass that is going on

    def to(self, device: torch.device) -> None:
        self._device = device
        self._digest = {name: value.to(device) for name, value in self._digest.items()}

    def minibatches(self, position: Position, stopping: Callable[[], bool]) -> Iterator[dict[str, Tensor]]:
        for _ in range(CHUNK):
            if position.step_in_epoch == 0:
                if stopping():
                    return
                if not self._collect(position.counters, stopping):
                    return
            yield self._minibatch(position)

    def batch(self, minibatch: dict[str, Tensor], keys: Keys) -> dict[str, Tensor]:
        return minibatch

    def after_step(self, position: Position, metrics: Mapping[str, Tensor]) -> Progress:
        agent, before, step, count = self.agent, position.counters, position.step_in_epoch + 1, self._minibatches
        counters = replace(before, optimizer_steps=before.optimizer_steps + 1)
        if step == 1:
            steps, episodes = self._counts
            counters = replace(counters, env_steps=before.env_steps + steps, episodes=before.episodes + episodes)
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        if step % count:
            return Progress(counters, False, False, self._weight)
        means = {name: float(total) / count for name, total in self._sums.items()}
        self._sums = {}
        if step < agent.passes * count and agent.goes_on(means):
            return Progress(counters, False, False, self._weight)
        agent.finish(self._digest, means)
        counters = replace(counters, epoch=counters.epoch + 1)
        return Progress(counters, True, self._is_due(counters), self._weight)

    def amount(self, counters: Counters) -> int:
        return counters.env_steps

    def try_out(self) -> None:
        """Act for two steps, and compute what would be learned from them; the agent is left as it was.

        Raises:
            IncompatibleParts: parts of the agent do not fit together.
            PluginError: a part returns what it must not.
            ValueError: a part refuses what it is given.
        """
        agent = self.agent
        before = copy.deepcopy(agent.state_dict())  # what has no gradients learns in its losses
        environments = agent.environment.make()
        try:
            digest = {}
            if agent.steps != 0:
                collector = Collector(environments, seed=self.seed, stream="check")
                with torch.no_grad(), watched_parts(agent):
                    digest = agent.digest(collector.collect(watched_act(agent, self._explorer()), 2))
            if digest and not self._whole:
                digest = _taken(digest, _decisions(digest))
            with watched_parts(agent):
                for _ in agent.losses(digest, Counters(), Keys(self.seed, "check", 0)):
                    break
        finally:
            environments.close()
            agent.load_state_dict(before)

    def axes(self, counters: Counters) -> dict[str, int]:
        return {"step": counters.optimizer_steps, "env_steps": counters.env_steps, "episodes": counters.episodes}

    def news(self) -> dict[str, float]:
        return statistics(self._collector.drain())

    def evaluate(
        self, split: str, counters: Counters, stopping: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Return the mean return and length of whole episodes, and the standard error of the first.

        Where some were cut, `cut` is their share. None where it was given up.
        """
        evaluation = self.agent.evaluation
        if evaluation is None:
            return {}
        seed = key(self.seed, split, 0)
        played = play(self.agent, evaluation.episodes, seed=seed, greedy=evaluation.greedy, stopping=stopping)
        if played is None:
            return None
        cut = share_cut(self.agent.environment, played)
        return statistics(played) | ({"cut": cut} if cut else {})

    def cost(self, metrics: Mapping[str, float]) -> float:
        return -metrics["return"]

    def state(self) -> dict[str, Any]:
        return {
            "collector": self._collector.state() if self.restorable and self.agent.steps else None,
            "collected": self._collected,
            "episodes": [list(episode) for episode in self._collector.episodes],
            "digest": dict(self._digest),
            "counts": list(self._counts),
            "sums": dict(self._sums),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._collected = state["collected"]
        if state["collector"] is None:
            self._collector.begin_anew(self._collected)
            self.agent.begin_anew()
        else:
            self._collector.restore(state["collector"])
        self._collector.episodes = [(total, length) for total, length in state["episodes"]]
        self._digest, self._sums = dict(state["digest"]), dict(state["sums"])
        self._pass = None
        self._counts = (state["counts"][0], state["counts"][1])

    def _collect(self, counters: Counters, stopping: Callable[[], bool]) -> bool:
        """Act, and take up what is to be learnt from it; return whether it was not given up.

        Whole episodes begin with a reset by a key: given up, they are repeated to the bit. Other rollouts go on where
        the last one stopped, and are taken to their end, T steps.
        """
        agent, number = self.agent, counters.epoch
        self._digest, self._parts, self._pass, self._counts = {}, [], None, (0, 0)
        if agent.steps == 0:
            return True
        self._collected = number + 1
        rekey(self.seed, "act", number)
        agent.eval()
        with torch.no_grad():
            if agent.steps is None:
                rollout = self._collector.collect_episodes(self._explorer(), number, stopping=stopping)
            else:
                rollout = self._collector.collect(self._explorer(), agent.steps)
                while not rollout.decisions:  # all rest: there is nothing to learn, and this is no epoch
                    rollout = self._collector.collect(self._explorer(), agent.steps)
        if rollout is None:
            agent.train()
            return False
        ends = int(torch.count_nonzero((rollout.terminated | rollout.truncated) & rollout.mask))
        self._counts = (rollout.decisions, ends)
        with torch.no_grad():
            self._digest = agent.digest(rollout if self._device.type == "cpu" else rollout.to(self._device))
        agent.train()
        return True

    @property
    def _minibatches(self) -> int:
        """Into how many parts this rollout is cut: none is empty."""
        return min(self.agent.minibatches, max(1, self._counts[0]))

    @property
    def _weight(self) -> float:
        """What its metrics count in means: the share of steps that are decisions, 1 of whole episodes."""
        steps = self.agent.steps
        return self._counts[0] / (steps * self.agent.environment.num_envs) if steps else 1.0

    def _explorer(self) -> Act:
        explore, device = self.agent.explorer(), self._device
        if device.type == "cpu":
            return explore

        def act(observation: Tensor, action_mask: Tensor | None) -> Tensor:
            mask = None if action_mask is None else action_mask.to(device)
            return explore(observation.to(device), mask).cpu()

        return act

    def _minibatch(self, position: Position) -> dict[str, Tensor]:
        """Return the rows of a minibatch, [M, ...] each; of a rollout that stays whole [T, N, ...]."""
        count = self._minibatches
        if self._whole:
            return self._digest
        number, part = divmod(position.step_in_epoch, count)
        this = (position.counters.epoch, number if count > 1 else 0)
        if self._pass != this:
            rows = _decisions(self._digest)
            if count > 1:
                generator = torch.Generator().manual_seed(key(self.seed, f"pass {number}", position.counters.epoch))
                rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            # Once a pass, and cut into views: a selection for each minibatch costs as much as a small one's loss.
            shuffled = {name: value.tensor_split(count) for name, value in _taken(self._digest, rows).items()}
            self._parts = [{name: parts[index] for name, parts in shuffled.items()} for index in range(count)]
            self._pass = this
        return self._parts[part]

    def _is_due(self, counters: Counters) -> bool:
        evaluation = self.agent.evaluation
        if evaluation is None or evaluation.every is None:
            return False
        before = counters.env_steps - self._counts[0]
        return counters.env_steps // evaluation.every > before // evaluation.every


def _decisions(digest: Mapping[str, Tensor]) -> Tensor:
    """Return which rows of [T·N] are decisions, [M] int64."""
    return digest["mask"].flatten().nonzero()[:, 0]


def _taken(digest: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Return some rows of what was made of a rollout, all of them decisions: [T, N, ...] → [M, ...]."""
    return {name: each.flatten(0, 1).index_select(0, rows) for name, each in digest.items() if name != "mask"}


def statistics(episodes: list[tuple[float, int]]) -> dict[str, float]:
    """Return the mean return and length of some episodes, and the standard error of the first; nothing of none."""
    if not episodes:
        return {}
    returns = torch.tensor([total for total, _ in episodes], dtype=torch.float64)
    found = {"return": float(returns.mean()), "length": sum(length for _, length in episodes) / len(episodes)}
    if len(episodes) > 1:
        found["return_standard_error"] = float(returns.std() / len(episodes) ** 0.5)
    return found
