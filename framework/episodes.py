"""Whole episodes of an agent, in environments of their own: how good it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from framework.agent import Agent
from framework.environment import Environment, Environments, reset_seeds
from framework.randomness import key, rekey
from framework.tape import allowed_by, preparation

AT_ONCE = 100  # environments side by side
LONGEST = 10_000  # steps: where nothing else limits an episode, it is cut then

Episode = tuple[float, int]  # the undiscounted return, and the length in steps


@torch.no_grad()
def play(
    agent: Agent, episodes: int, *, seed: int, greedy: bool, stopping: Callable[[], bool] = lambda: False
) -> list[Episode] | None:
    """Return what whole episodes bring, which the agent plays without learning from them.

    The environments are the agent's, with seeds that are a function of `seed`. Each plays as many as the others, from
    the start: those that are over first do not count more. An episode is cut after 10,000 steps in environments without
    a limit of their own (`share_cut`). Where environments are runs of their own, there are as many as in training, and
    each is played in by its own parameters.

    Args:
        agent: on any device; it is left as it was.
        episodes: how many, 1 or more; where environments are runs of their own, at least one for each.
        seed: of the environments and of what is drawn.
        greedy: whether it takes the likeliest action, or draws.
        stopping: asked before each step whether to give up.

    Returns:
        The episodes; None where it was given up.
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
            played = _round(agent, environments, key(seed, "environment", len(found)), greedy, stopping)
            if played is None:
                return None
            found += played
    finally:
        agent.train(training)
        environments.close()
    return found if independent else found[:episodes]


def longest(environment: Environment) -> int | None:
    """Return the steps after which an episode has to be cut from outside; None where environments limit it."""
    return LONGEST if environment.limit is None else None


def share_cut(environment: Environment, episodes: list[Episode]) -> float:
    """Return the share of episodes that were cut: where environments have no limit, those of 10,000 steps."""
    end = longest(environment)
    return sum(length == end for _, length in episodes) / len(episodes)


def _round(
    agent: Agent, environments: Environments, seed: int, greedy: bool, stopping: Callable[[], bool]
) -> list[Episode] | None:
    """Play one episode in each environment; return None where it was given up."""
    count, end = environments.num_envs, longest(agent.environment)
    device = next((tensor.device for tensor in agent.state_dict().values()), torch.device("cpu"))
    space = environments.single_action_space
    prepared = preparation(space)
    seeds = reset_seeds(environments, seed, lambda i: key(seed, f"environment {i}", 0))
    observation, infos = environments.reset(seed=seeds)
    returns, lengths = np.zeros(count), np.zeros(count, dtype=np.int64)
    going, ended = np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    while going.any() and (end is None or lengths.max() < end):
        if stopping():
            return None
        allowed = torch.from_numpy(allowed_by(infos, ended, space)).to(device) if "action_mask" in infos else None
        seen = torch.as_tensor(np.asarray(observation))
        seen = (seen.float() if seen.is_floating_point() else seen).to(device)
        action = agent.act(seen, allowed, greedy=greedy).cpu().numpy()
        observation, reward, terminated, truncated, infos = environments.step(prepared(action))
        returns += np.where(going, reward, 0.0)
        lengths += going
        ended = terminated | truncated
        going &= ~ended
    return list(zip(returns.tolist(), lengths.tolist(), strict=True))
