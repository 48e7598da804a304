"""The exact learner: value iteration on an environment that is a table."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from framework.agent import Agent, Evaluation
from framework.dynamic_programming import action_values
from framework.environment import Environment
from framework.errors import IncompatibleParts, OptionError
from framework.learner import Loss, register_learner
from framework.markov import from_gymnasium
from framework.optimizer import Optimizer
from framework.randomness import Keys
from framework.rollout import Rollout
from framework.schedule import Counters


@register_learner("value_iteration")
class ValueIteration(Agent):
    """Sweeps of value iteration: no samples, no parameters; acting is for judging what comes out.

        v(s) ← max_a Σ_{s', r} p(s', r|s, a)·(r + γ·v(s'))

    One optimiser step is one sweep over all states, in float64. After k sweeps v is within γ^k·‖v − v*‖ of the optimum.

    Its metrics: `residual`, the largest change of a state's value in a sweep; `value`, the expected v of the first
    state; both in the reward's unit.

    Args:
        environment: one whose unwrapped form has gymnasium's table `P`: FrozenLake, Taxi, CliffWalking.
        evaluation: how its greedy policy is judged; null is not at all.
        discount: γ, in [0, 1].

    Raises:
        IncompatibleParts: the environment has no table, or the discount is out of range.

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, §4.4,
        http://incompleteideas.net/book/the-book-2nd.html.
    """

    steps = 0
    values: Tensor  # v, [S] float64

    def __init__(self, *, environment: Environment, evaluation: Evaluation | None, discount: float) -> None:
        super().__init__()
        self.environment, self.evaluation = environment, evaluation
        self.formula = f"v(s) = max_a E[r + {discount:g} · v(s')]"
        if misfits := list(self._misfits()):
            raise IncompatibleParts(misfits)
        one = environment.make_one()
        try:
            self.mdp = from_gymnasium(one, discount=discount)
        except OptionError as error:
            option = "environment.id" if error.option == "env" else error.option
            raise IncompatibleParts([OptionError(option, found=error.found, expected=error.expected)]) from error
        finally:
            one.close()
        self.register_buffer("values", torch.zeros(self.mdp.states, dtype=torch.float64))

    def act(self, observation: Tensor, action_mask: Tensor | None, *, greedy: bool) -> Tensor:
        best = action_values(self.mdp, self.values.cpu()).argmax(-1)  # [S]
        return best.to(observation.device)[observation]

    def digest(self, rollout: Rollout) -> dict[str, Tensor]:
        return {}

    def losses(self, batch: dict[str, Tensor], counters: Counters, keys: Keys) -> Iterator[Loss]:
        before = self.values.cpu()
        after = action_values(self.mdp, before).amax(-1)  # [S]
        residual = (after - before).abs().max()
        self.values.copy_(after)
        yield Loss(None, "", {"residual": residual, "value": self.mdp.start @ after})

    def optimizers(self) -> dict[str, Optimizer]:
        return {}

    def _misfits(self) -> Iterator[OptionError]:
        if self.environment.normalize_reward:
            expected = "false: the learner knows the rewards as they are"
            yield OptionError("environment.normalize_reward", found="true", expected=expected)
        if self.evaluation is not None and self.evaluation.every is not None:
            expected = "null: the learner takes no steps in its environment before it is judged at the end"
            yield OptionError("evaluation.every", found=self.evaluation.every, expected=expected)
