"""The action-value learner: tables of Q, from a bandit's sample averages to Q-learning and SARSA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from gymnasium.spaces import Discrete
from torch import Tensor
from torch.distributions import Distribution

from framework.action_values import ActionValues
from framework.agent import Agent, Evaluation
from framework.environment import Environment
from framework.errors import IncompatibleParts, OptionError
from framework.learner import Loss, register_learner
from framework.optimizer import Optimizer
from framework.policy import Policy, policies
from framework.randomness import Keys
from framework.rollout import Rollout
from framework.schedule import Counters

_NONE = -1  # stands for an action that is not chosen yet


@register_learner("action_value")
class ActionValue(Agent):
    """Tabular control by temporal differences; with one state and γ = 0 a bandit's sample averages.

        Q(s, a) ← Q(s, a) + α·(r + γ·V(s') − Q(s, a)),    V(end) = 0

    V(s') is max_a Q(s', a) with `q_learning`, Q(s', a') of the action that is taken next with `sarsa`, and
    Σ_a π(a|s')·Q(s', a) with `expected_sarsa`. α is `step_size`, or with null one over the number of times that the
    pair was taken, which makes Q the average of what it was moved to. A truncated episode goes on with V(s'). Each
    environment is a run of its own with a table of its own; there are no gradients.

    Its metrics: `reward` and, where the environment tells, how often the action was `optimal`, means over the runs,
    each with its standard error; `td_error`, the mean of |r + γ·V(s') − Q(s, a)|.

    Args:
        environment: what it acts in; its observations and actions are discrete.
        policy: a rule for exploring: `epsilon_greedy`, `upper_confidence_bound`.
        evaluation: how it is judged; null is not at all.
        discount: γ, in [0, 1].
        target: what V(s') is.
        step_size: α, in (0, 1]; null is sample averages.
        initial_value: of all of Q; above all rewards it is optimistic, and makes even a greedy rule explore.

    Raises:
        IncompatibleParts: spaces that are not discrete, several environments that are not runs of their own, a policy
            that is no rule for exploring, a number out of range.

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, chapters 2 and 6,
        http://incompleteideas.net/book/the-book-2nd.html.
    """

    steps = 1
    # The runs come last in memory: a step does the same to each, and rules look for the largest of their few actions.
    values: Tensor  # Q, [N, S, A]
    counts: Tensor  # [N, S, A]
    planned: Tensor  # [N], the action that SARSA has chosen for the next step
    rows: Tensor  # [N], 0 to N - 1

    def __init__(
        self,
        *,
        environment: Environment,
        policy: Policy,
        evaluation: Evaluation | None,
        discount: float,
        target: Literal["q_learning", "sarsa", "expected_sarsa"] = "q_learning",
        step_size: float | None = None,
        initial_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.environment, self.policy, self.evaluation = environment, policy, evaluation
        self.discount, self.target, self.step_size = discount, target, step_size
        values = {"q_learning": "max_b Q(s', b)", "sarsa": "Q(s', a')", "expected_sarsa": "E_π Q(s', b)"}[target]
        step = "1/n" if step_size is None else f"{step_size:g}"
        self.formula = f"Q(s, a) = E[r{f' + {discount:g} · {values}' if discount else ''}], in steps of {step}"
        if misfits := list(self._misfits()):
            raise IncompatibleParts(misfits)
        observed: Any = environment.observation_space
        chosen: Any = environment.action_space
        self._first = int(observed.start)
        shape = (environment.num_envs, int(observed.n), int(chosen.n))
        self.register_buffer("values", _runs_last(torch.full(shape, initial_value)))
        self.register_buffer("counts", _runs_last(torch.zeros(shape)))
        self.register_buffer("planned", torch.full(shape[:1], _NONE))
        self.register_buffer("rows", torch.arange(shape[0]), persistent=False)

    def act(self, observation: Tensor, action_mask: Tensor | None, *, greedy: bool) -> Tensor:
        known = self._known(observation, action_mask)
        if greedy:
            return known.values.argmax(-1)
        action: Tensor = self.policy(known).sample()
        return action

    def explore(self, observation: Tensor, action_mask: Tensor | None) -> Tensor:
        action = self.act(observation, action_mask, greedy=False)
        return torch.where(self.planned == _NONE, action, self.planned) if self.target == "sarsa" else action

    def begin_anew(self) -> None:
        self.planned.fill_(_NONE)

    def digest(self, rollout: Rollout) -> dict[str, Tensor]:
        found = {
            "mask": rollout.mask,
            "observation": rollout.observation[:1],
            "action": rollout.action,
            "reward": rollout.reward,
        }
        if rollout.optimal is not None:
            found["optimal"] = rollout.optimal
        if self.discount > 0:
            after = rollout.observation[1]  # [N]
            mask = None if rollout.action_mask is None else rollout.action_mask[1]  # [N, A]
            if len(rollout.end_rows):
                ended = rollout.end_rows[:, 1]
                after = after.index_put((ended,), rollout.end_observations)
                if mask is not None and rollout.end_action_masks is not None:
                    mask = mask.index_put((ended,), rollout.end_action_masks)
            value = self._value(after, mask, going_on=~(rollout.terminated | rollout.truncated)[0])
            found["next_value"] = value.masked_fill(rollout.terminated[0], 0.0)[None]
        return found

    def losses(self, batch: dict[str, Tensor], counters: Counters, keys: Keys) -> Iterator[Loss]:
        # As one long row each; a run's pair of state and action has a place of its own.
        values, counts = (table.movedim(0, -1).view(-1) for table in (self.values, self.counts))
        place = self._place(batch["observation"][0], batch["action"][0])  # [N]
        target = batch["reward"][0]
        if self.discount > 0:
            target = target + self.discount * batch["next_value"][0]
        counted = batch["mask"][0].to(target)
        value, count = values.index_select(0, place), counts.index_select(0, place) + counted
        error = (target - value).mul_(counted)  # [N]
        step = self.step_size if self.step_size is not None else 1 / count.clamp(min=1)
        counts.scatter_(0, place, count)
        values.scatter_(0, place, value + step * error)
        decisions = int(counted.sum())
        metrics = {"td_error": error.abs().sum() / max(1, decisions)}
        observed: dict[str, Tensor] = {name: batch[name][0] for name in ("reward", "optimal") if name in batch}
        yield Loss(None, "", metrics | _over_runs(observed, counted, decisions))

    def optimizers(self) -> dict[str, Optimizer]:
        return {}

    def _known(self, observation: Tensor, action_mask: Tensor | None) -> ActionValues:
        if self.values.shape[1] == 1:  # nothing to look up
            values, counts = self.values[:, 0], self.counts[:, 0]
        else:
            values, counts = (table[self.rows, observation - self._first] for table in (self.values, self.counts))
        if action_mask is not None:
            values = values.masked_fill(~action_mask, -torch.inf)
        return ActionValues(values, counts)

    def _place(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return where a table's numbers for these pairs are, [N], if it is one long row."""
        runs, states, actions = self.values.shape
        pair = action if states == 1 else (observation - self._first) * actions + action
        return torch.add(self.rows, pair, alpha=runs)

    def _value(self, observation: Tensor, action_mask: Tensor | None, *, going_on: Tensor) -> Tensor:
        """Return V(s'), [N]; SARSA's next action is chosen here, and taken unless the episode has ended."""
        known = self._known(observation, action_mask)
        if self.target == "q_learning":
            return known.values.amax(-1)
        policy: Distribution = self.policy(known)
        if self.target == "expected_sarsa":
            probabilities = self._probabilities(policy)
            return (probabilities * known.values.masked_fill(probabilities == 0, 0.0)).sum(-1)
        action = policy.sample()
        self.planned.copy_(torch.where(going_on, action, _NONE))
        return known.values[self.rows, action]

    def _probabilities(self, policy: Distribution) -> Tensor:
        runs, count = self.values.shape[0], self.values.shape[-1]
        actions = torch.arange(count, device=self.values.device)[:, None].expand(count, runs)  # [A, N]
        return torch.stack([policy.log_prob(action) for action in actions], -1).exp()  # [N, A]

    def _misfits(self) -> Iterator[OptionError]:
        environment = self.environment
        for what, space in (("observations", environment.observation_space), ("actions", environment.action_space)):
            if not isinstance(space, Discrete):
                yield OptionError(
                    "environment.id", found=f"{what} in {space}", expected="a discrete space: the learner is a table"
                )
        if environment.num_envs > 1 and not environment.independent:
            expected = "true: each environment has a table of its own"
            yield OptionError("environment.independent", found=False, expected=expected, write="independent: true")
        if not self.policy.explores_values:
            expected = "a rule for exploring, such as epsilon_greedy"
            yield OptionError("policy", found=policies.name_of(self.policy), expected=expected)
        for option in ("normalize_observation", "normalize_reward"):
            if getattr(environment, option):
                expected = "false: the learner is a table of the rewards as they are"
                yield OptionError(f"environment.{option}", found="true", expected=expected, write=f"{option}: false")
        if not 0 <= self.discount <= 1:
            yield OptionError("discount", found=self.discount, expected="a number in [0, 1]")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            yield OptionError("step_size", found=self.step_size, expected="a number in (0, 1], or null")


def _runs_last(table: Tensor) -> Tensor:
    """Return a table [N, S, A] whose runs lie side by side in memory."""
    return table.movedim(0, -1).contiguous().movedim(-1, 0)


def _over_runs(observed: dict[str, Tensor], counted: Tensor, decisions: int) -> dict[str, Tensor]:
    """Return means over the runs [N] that count, and of several runs their standard errors, 0 where one counts."""
    values = torch.stack([each.to(counted) for each in observed.values()])  # [M, N]
    runs = values.shape[1]
    if decisions < runs:
        values = values[:, counted > 0]
    mean = values.mean(1)
    found = dict(zip(observed, mean.unbind(), strict=True))
    if runs > 1:  # torch.std would take twenty times as long
        error = torch.linalg.vector_norm(values - mean[:, None], dim=1) / max(1, decisions * (decisions - 1)) ** 0.5
        found |= dict(zip((f"{name}_standard_error" for name in observed), error.unbind(), strict=True))
    return found
