"""Every trajectory of a small Markov decision process, with its probability: the oracle that needs no algebra.

Legend: S states, A actions, T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from framework.errors import OptionError
from framework.markov import FiniteMDP, checked_policy


@dataclass(frozen=True)
class Trajectory:
    """One course that an episode can take, up to a horizon.

    Args:
        probability: of this course, in (0, 1].
        states: s_0 … s_{T−1}, those acted in.
        actions: a_0 … a_{T−1}.
        rewards: r_0 … r_{T−1}, r_t the expected one of taking a_t in s_t.
        final: s_T where the horizon cut the episode off, None where it terminated.
    """

    probability: float
    states: tuple[int, ...]
    actions: tuple[int, ...]
    rewards: tuple[float, ...]
    final: int | None


def enumerate_trajectories(mdp: FiniteMDP, policy: Tensor, horizon: int) -> Iterator[Trajectory]:
    """Return every trajectory that has a probability above 0, one after the other; their probabilities sum to 1.

    There are up to (S·A)^horizon of them: for tests on small processes.

    Args:
        mdp: the process.
        policy: π(a|s), [S, A], a floating-point type; rows sum to 1.
        horizon: the most steps of a trajectory, positive.

    Returns:
        An iterator of trajectories, in no order to rely on.

    Raises:
        OptionError: the policy is none of this process, or the horizon is not positive.

    Example:
        >>> import torch
        >>> from framework.markov import short_corridor
        >>> always_right_but_in_the_middle = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> list(enumerate_trajectories(short_corridor(), always_right_but_in_the_middle, 5))
        [Trajectory(probability=1.0, states=(0, 1, 2), actions=(1, 0, 1), rewards=(-1.0, -1.0, -1.0), final=None)]
    """
    if horizon < 1:
        raise OptionError("horizon", found=horizon, expected="a positive number of steps")
    return _trajectories(mdp, checked_policy(mdp, policy), horizon)


def _trajectories(mdp: FiniteMDP, policy: Tensor, horizon: int) -> Iterator[Trajectory]:
    chances: list[list[float]] = policy.tolist()
    transitions: list[list[list[float]]] = mdp.transitions.tolist()
    termination: list[list[float]] = mdp.termination.tolist()
    rewards: list[list[float]] = mdp.rewards.tolist()
    begun = [Trajectory(chance, (), (), (), state) for state, chance in enumerate(mdp.start.tolist()) if chance > 0]
    while begun:
        past = begun.pop()
        state = past.final
        assert state is not None
        for action, chance in enumerate(chances[state]):
            endings = [(None, termination[state][action]), *enumerate(transitions[state][action])]
            for final, share in endings:
                probability = past.probability * chance * share
                if probability > 0:
                    longer = Trajectory(
                        probability,
                        (*past.states, state),
                        (*past.actions, action),
                        (*past.rewards, rewards[state][action]),
                        final,
                    )
                    if final is None or len(longer.actions) == horizon:
                        yield longer
                    else:
                        begun.append(longer)
