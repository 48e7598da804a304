"""Finite Markov decision processes as arrays: those of the textbooks and of gymnasium's tables.

What is exactly true of them, values, optima and gradients, is in `dynamic_programming` and `trajectories`.
Legend: S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from framework.errors import OptionError

if TYPE_CHECKING:
    import gymnasium

_ROUNDING = 1e-9  # how far from 1 probabilities in float64 that were given as fractions may sum
_POLICY_ROUNDING = 1e-6  # and those of a float32 softmax


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteMDP:
    """A Markov decision process of S states and A actions; a step that ends the episode leads to no state.

        p(s'|s, a) = transitions[s, a, s'],    p(end|s, a) = termination[s, a],    E[r|s, a] = rewards[s, a]

    The S states are those that are acted in; the end has the value 0 and is not among them. Termination belongs to
    steps, as in gymnasium, so that a state may be both passed and ended in. The reward is its expectation: values,
    optima and gradients depend on nothing else of it, but the variance of a return does.

    Args:
        transitions: [S, A, S], float64, probabilities of the next state, of steps after which the episode goes on.
        termination: [S, A], float64, probabilities that the step ends the episode; with the transitions they sum to 1.
        rewards: [S, A], float64, expected over the next state, in any unit.
        start: [S], float64, probabilities of the first state.
        discount: γ, in [0, 1].

    Raises:
        OptionError: a shape or a type is wrong, probabilities are negative or do not sum to 1, a reward is not finite.

    Example:
        >>> coin = FiniteMDP(  # one state and one action, which ends the episode half of the time and pays 1
        ...     transitions=torch.tensor([[[0.5]]]).double(), termination=torch.tensor([[0.5]]).double(),
        ...     rewards=torch.ones(1, 1).double(), start=torch.ones(1).double(), discount=1.0)
        >>> coin.states, coin.actions
        (1, 1)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, chapter 3,
        http://incompleteideas.net/book/the-book-2nd.html.
    """

    transitions: Tensor
    termination: Tensor
    rewards: Tensor
    start: Tensor
    discount: float

    def __post_init__(self) -> None:
        shape = tuple(self.transitions.shape)
        if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
            raise OptionError("transitions", found=list(shape), expected="[S, A, S], a state and an action or more")
        wanted = {"transitions": shape, "termination": shape[:2], "rewards": shape[:2], "start": shape[:1]}
        for name, expected in wanted.items():
            tensor = getattr(self, name)
            if tensor.shape != expected:
                raise OptionError(name, found=list(tensor.shape), expected=f"the shape {list(expected)}")
            if tensor.dtype != torch.float64:
                raise OptionError(name, found=tensor.dtype, expected="torch.float64", write=f"{name}.double()")
            if name != "rewards" and not bool((tensor >= 0).all()):
                raise OptionError(name, found=tensor.min().item(), expected="probabilities, none below 0")
        if not bool(self.rewards.isfinite().all()):
            raise OptionError("rewards", found="one that is not", expected="finite numbers")
        self._check_sums()
        if not 0 <= self.discount <= 1:
            raise OptionError("discount", found=self.discount, expected="a number in [0, 1]")

    def _check_sums(self) -> None:
        sums = self.transitions.sum(2) + self.termination  # [S, A]
        error = (sums - 1).abs()
        if error.max() > _ROUNDING:
            state, action = divmod(int(error.argmax()), self.actions)
            raise OptionError(
                "transitions",
                found=f"a sum of {sums[state, action].item():g} in state {state} for action {action}",
                expected="the probabilities of a step's next states and of its end to sum to 1",
                write="the missing probability into termination, if the episode ends there",
            )
        if abs(self.start.sum().item() - 1) > _ROUNDING:
            raise OptionError("start", found=f"a sum of {self.start.sum().item():g}", expected="a sum of 1")

    @property
    def states(self) -> int:
        """S, those that are acted in."""
        return self.rewards.shape[0]

    @property
    def actions(self) -> int:
        """A."""
        return self.rewards.shape[1]


def checked_policy(mdp: FiniteMDP, policy: Tensor) -> Tensor:
    """Return a policy in float64, if it is one of this process.

    Args:
        mdp: the process.
        policy: π(a|s), [S, A], a floating-point type; rows sum to 1.

    Returns:
        The same numbers, [S, A], float64; a gradient passes.

    Raises:
        OptionError: the shape is wrong, or a row holds no probabilities.

    Example:
        >>> checked_policy(short_corridor(), torch.full((3, 2), 0.5)).dtype
        torch.float64
    """
    if policy.shape != mdp.rewards.shape:
        raise OptionError("policy", found=list(policy.shape), expected=f"[S, A], {list(mdp.rewards.shape)}")
    policy = policy.double()
    sums, least = policy.detach().sum(1), policy.detach().min(1).values  # [S]
    right = (least >= 0) & ((sums - 1).abs() <= _POLICY_ROUNDING)  # False where a number is not one
    if not bool(right.all()):
        state = int(right.logical_not().nonzero()[0, 0])
        found = f"{least[state].item():g}" if least[state] < 0 else f"a sum of {sums[state].item():g}"
        expected = "probabilities, none below 0, that sum to 1 in each state"
        raise OptionError("policy", found=f"{found} in state {state}", expected=expected)
    return policy


def short_corridor(discount: float = 1.0) -> FiniteMDP:
    """Return the short corridor with switched actions: three states in a row, one reversed, which look all the same.

    Action 0 goes left and 1 right, in the middle state (1) the other way round; right of the last state is the end.
    Every step costs 1, the last one too (a widely copied script forgets it). A policy that goes right with the
    probability p in every state is worth, at the start and with γ = 1,

        v(p) = (2p − 4)/(p·(1 − p)),    at most −(6 + 4√2) ≈ −11.657, at p = 2 − √2 ≈ 0.586.

    A policy that tells the states apart is worth up to −3: no oracle for learners that cannot.

    Args:
        discount: γ, in [0, 1].

    Returns:
        The process, S = 3, A = 2; rewards in steps.

    Raises:
        OptionError: the discount is out of range.

    Example:
        >>> short_corridor().termination  # right in the last state
        tensor([[0., 0.],
                [0., 0.],
                [0., 1.]], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, example 13.1,
        http://incompleteideas.net/book/the-book-2nd.html.
    """
    transitions = torch.zeros(3, 2, 3, dtype=torch.float64)  # [S, A, S]
    for state, action, following in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 0), (2, 0, 1)):
        transitions[state, action, following] = 1
    return FiniteMDP(
        transitions=transitions,
        termination=1 - transitions.sum(2),
        rewards=-torch.ones(3, 2, dtype=torch.float64),
        start=torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
        discount=discount,
    )


def from_gymnasium(env: gymnasium.Env[Any, Any], *, discount: float, start: Tensor | None = None) -> FiniteMDP:
    """Return the process behind a gymnasium environment that has a table: FrozenLake, CliffWalking, Taxi.

    A state that is only ever ended in keeps the steps that the table gives it; they are never taken. A time limit is
    no part of the process.

    Args:
        env: the environment; `env.unwrapped.P[s][a]` lists (probability, next state, reward, terminated).
        discount: γ, in [0, 1]; gymnasium knows none.
        start: [S], float64, probabilities of the first state; by default the environment's `initial_state_distrib`.

    Returns:
        The process, with the environment's numbers of states and actions.

    Raises:
        OptionError: the environment has no table, or no start distribution and none is given; or what `FiniteMDP`
            refuses.

    Example:
        >>> import gymnasium
        >>> mdp = from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=0.99)
        >>> mdp.states, mdp.actions
        (16, 4)

    Reference: https://gymnasium.farama.org/environments/toy_text/.
    """
    # Other people's classes: nothing but the attribute itself tells that it is there.
    table = getattr(env.unwrapped, "P", None)
    if table is None:
        raise OptionError(
            "env",
            found=str(env),
            expected="an environment with a table of transitions in env.unwrapped.P",
            write="one like FrozenLake-v1, CliffWalking-v1 or Taxi-v3",
        )
    if start is None:
        distribution = getattr(env.unwrapped, "initial_state_distrib", None)
        if distribution is None:
            raise OptionError(
                "start",
                found="None, and the environment has no initial_state_distrib",
                expected="[S] probabilities of the first state",
                write=f"start=..., of {len(table)} probabilities",
            )
        start = torch.as_tensor(distribution, dtype=torch.float64)
    states, actions = len(table), len(table[0])
    transitions = torch.zeros(states, actions, states, dtype=torch.float64)
    termination, rewards = torch.zeros(2, states, actions, dtype=torch.float64)
    for state, choices in table.items():
        for action, outcomes in choices.items():
            for probability, following, reward, terminated in outcomes:  # one state may be listed twice
                rewards[state, action] += probability * reward
                if terminated:
                    termination[state, action] += probability
                else:
                    transitions[state, action, int(following)] += probability
    return FiniteMDP(transitions=transitions, termination=termination, rewards=rewards, start=start, discount=discount)
