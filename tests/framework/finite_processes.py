"""Small random Markov decision processes and policies, for the tests of what is exact."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.markov import FiniteMDP


def random_process(
    seed: int, *, states: int = 4, actions: int = 3, discount: float = 0.9, ends: float = 0.2
) -> FiniteMDP:
    """A process in which every step may lead anywhere, and ends the episode with a probability of `ends`."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(states, actions, states, generator=generator, dtype=torch.float64)
    start = torch.rand(states, generator=generator, dtype=torch.float64)
    return FiniteMDP(
        transitions=(1 - ends) * weights / weights.sum(2, keepdim=True),
        termination=torch.full((states, actions), ends, dtype=torch.float64),
        rewards=torch.randn(states, actions, generator=generator, dtype=torch.float64),
        start=start / start.sum(),
        discount=discount,
    )


def random_logits(seed: int, mdp: FiniteMDP) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(mdp.states, mdp.actions, generator=generator, dtype=torch.float64)


def chain(*choices: tuple[float, int | None], discount: float = 1.0) -> FiniteMDP:
    """A state for each pair: action 0 gives the reward and leads to the state, or ends (None); action 1 ends at −1."""
    states = len(choices)
    transitions = torch.zeros(states, 2, states, dtype=torch.float64)
    rewards = torch.full((states, 2), -1.0, dtype=torch.float64)
    for state, (reward, following) in enumerate(choices):
        rewards[state, 0] = reward
        if following is not None:
            transitions[state, 0, following] = 1
    return FiniteMDP(
        transitions=transitions,
        termination=1 - transitions.sum(2),
        rewards=rewards,
        start=torch.full((states,), 1 / states, dtype=torch.float64),
        discount=discount,
    )
