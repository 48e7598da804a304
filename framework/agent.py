"""Agent: a learner that acts, and learns from what comes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from framework.environment import Environment
from framework.errors import OptionError
from framework.learner import Learner
from framework.rollout import Rollout
from framework.section import Section
from framework.tape import Act


class Evaluation(Section):
    """How an agent is judged: by whole episodes in environments of their own, with other seeds.

    Args:
        episodes: how many, 1 or more; the number is the mean of their undiscounted returns.
        every: environment steps between two evaluations in training, or null for none but the last.
        greedy: whether it takes the likeliest action (a Gaussian's mean), or draws as it does in training.

    Raises:
        OptionError: a number is out of range.
    """

    def __init__(self, *, episodes: int = 100, every: int | None = None, greedy: bool = True) -> None:
        for option, number in (("episodes", episodes), ("every", every)):
            if number is not None and number < 1:
                raise OptionError(option, found=number, expected="1 or more")
        self.episodes, self.every, self.greedy = episodes, every, greedy


class Agent(Learner, ABC):
    """A learner that acts in environments and learns from what comes of it, one rollout after the other.

    Attributes:
        environment: what it acts in.
        evaluation: how it is judged; None is not at all.
        steps: T, of a rollout in each environment; None is a whole episode in each, 0 learns without acting.
        passes: how often a rollout is gone through.
        minibatches: into how many parts, shuffled anew in each pass.
        whole: whether the one minibatch is all of a rollout in order, what is no decision included. Otherwise
            minibatches are made of decisions.
    """

    environment: Environment
    evaluation: Evaluation | None
    steps: int | None
    passes: int = 1
    minibatches: int = 1
    whole: bool = True

    @abstractmethod
    def act(self, observation: Tensor, action_mask: Tensor | None, *, greedy: bool) -> Tensor:
        """Return an action for each environment.

        Args:
            observation: [N, *shape], as the environments give them.
            action_mask: [N, choices] bool, the actions that are allowed; None where all are.
            greedy: the likeliest action instead of a draw.

        Returns:
            [N, *action shape].
        """

    def explore(self, observation: Tensor, action_mask: Tensor | None) -> Tensor:
        """Return an action for each environment that is learned from; arguments and value as of `act`, which it is."""
        return self.act(observation, action_mask, greedy=False)

    def explorer(self) -> Act:
        """Return a function that does what `explore` does, and may be faster, until the parameters are changed."""
        return self.explore

    def begin_anew(self) -> None:
        """Forget what belongs to episodes that are going on: new ones begin, because those could not be saved."""

    @abstractmethod
    def digest(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return what is learned from a rollout: tensors [T, N, ...] each, constant while it is gone through.

        `mask` is among them. Minibatches that are not `whole` are the rows [M, ...] of the others where it is True.
        """

    def goes_on(self, metrics: Mapping[str, float]) -> bool:
        """Return whether another pass may follow, by the metrics' means over the last one."""
        return True

    def finish(self, digest: Mapping[str, Tensor], metrics: Mapping[str, float]) -> None:
        """Take a rollout into what is kept of all of them, after its last pass; `metrics` are that pass's means."""
