"""Whole episodes of an agent, in environments of their own: how good it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from framework.agent import Agent
from framework.environment import Environments, reset_seeds
from framework.randomness import key, rekey
from framework.tape import allowed_by, preparation

AT_ONCE = 100  # environments side by side
LONGEST = 100_000  # steps: an episode that has not ended by then is cut

Episode = tuple[float, int]  # the undiscounted return, and the length in steps


@torch.no_grad()
def play(agent: Agent, episodes: int, *, seed: int, greedy: bool) -> list[Episode]:
    """Return what whole episodes bring, which the agent plays without learning from them.

    The environments are the agent's, with seeds that are a function of `seed`. Each plays as many as the others, from
    the start: those that are over first do not count more. An episode without an end is cut after 100,000 steps. Where
    environments are runs of their own, there are as many as in training, and each is played in by its own parameters.

    Args:
        agent: on any device; it is left as it was.
        episodes: how many, 1 or more; where environments are runs of their own, at least one for each.
        seed: of the environments and of what is drawn.
        greedy: whether it takes the likeliest action, or draws.
    """
    independent = agent.environment.independent
    count = agent.environment.num_envs if independent else min(episodes, AT_ONCE)
    environments = agent.environment.make(count)
    training = agent.training
    agent.eval()
    found: list[Episode] = []
    try:
        while len(found) < episodes:
            rekey(seed, "play", len(found))
            found += _round(agent, environments, key(seed, "environment", len(found)), greedy)
    finally:
        agent.train(training)
        environments.close()
    return found if independent else found[:episodes]


def _round(agent: Agent, environments: Environments, seed: int, greedy: bool) -> Iterator[Episode]:
    """Play one episode in each environment."""
    count = environments.num_envs
    device = next((tensor.device for tensor in agent.state_dict().values()), torch.device("cpu"))
    space = environments.single_action_space
    prepared = preparation(space)
    seeds = reset_seeds(environments, seed, lambda i: key(seed, f"environment {i}", 0))
    observation, infos = environments.reset(seed=seeds)
    returns, lengths = np.zeros(count), np.zeros(count, dtype=np.int64)
    going, ended = np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    while going.any() and lengths.max() < LONGEST:
        allowed = torch.from_numpy(allowed_by(infos, ended, space)).to(device) if "action_mask" in infos else None
        seen = torch.as_tensor(np.asarray(observation))
        seen = (seen.float() if seen.is_floating_point() else seen).to(device)
        action = agent.act(seen, allowed, greedy=greedy).cpu().numpy()
        observation, reward, terminated, truncated, infos = environments.step(prepared(action))
        returns += np.where(going, reward, 0.0)
        lengths += going
        ended = terminated | truncated
        going &= ~ended
    return zip(returns.tolist(), lengths.tolist(), strict=True)
