"""The baselines that are compared at one frozen state of a run, with statistics of rollouts of their own."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from gymnasium.spaces import Box, Discrete

from framework.baseline import Baseline, FittedBaseline, Samples, baselines
from framework.learners.policy_gradient import PolicyGradient
from framework.trunk import trunks

HIDDEN = [64]  # units of the value function that is fitted, where observations are no table
ROWS = 20_000  # decisions that it is fitted to, at most
TURNS = 200  # of the fit


def compared_baselines(agent: PolicyGradient, samples: Sequence[Samples]) -> dict[str, Baseline]:
    """Return every baseline of the house by its name, and the agent's own; a value function's name says which it is.

    Averages are over the samples. A value function is the agent's own as it is; of an agent that has none, it is fitted
    to the samples: a table, or a small network.

    Args:
        agent: what acted.
        samples: of rollouts that the baselines will not be applied to: what they learn from these biases nothing.
    """
    longest = max(one.returns.shape[1] for one in samples)
    found: dict[str, Baseline] = {
        "moving_average": baselines["moving_average"].factory(),
        "time_dependent": baselines["time_dependent"].factory(steps=longest),
        "leave_one_out": baselines["leave_one_out"].factory(),
    }
    own = copy.deepcopy(agent.baseline)
    if own is not None:
        name = baselines.name_of(own)
        found.setdefault(f"{name} (the run's)" if isinstance(own, FittedBaseline) else name, own)
    for baseline in found.values():
        baseline.eval()
        if not isinstance(baseline, FittedBaseline):
            for one in samples:
                baseline.update(one)
    if not isinstance(own, FittedBaseline):
        found["value (fitted)"] = _fitted_value(agent, samples)
    return found


def _fitted_value(agent: PolicyGradient, samples: Sequence[Samples]) -> Baseline:
    """Return a value function, fitted to samples by least squares."""
    chosen = _decisions(samples)
    space = agent.environment.observation_space
    if agent.trunk is not None:
        space = Box(-math.inf, math.inf, (agent.trunk.features,))
    trunk = None if isinstance(space, Discrete) else trunks["mlp"].factory(observation_space=space, hidden=HIDDEN)
    deviation = float(chosen.returns.std()) if len(chosen.returns) > 1 else 0.0
    scale = {} if deviation == 0 else {"scale": deviation}
    value: FittedBaseline = baselines["value"].factory(
        observation_space=space, trunk=trunk, initial=float(chosen.returns.mean()), **scale
    )
    # All samples at once, and few parameters: a quasi-Newton method needs no learning rate that would suit a task.
    optimizer = torch.optim.LBFGS(value.parameters(), max_iter=TURNS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        mean = value.loss(chosen).mean() / (deviation**2 or 1.0)
        mean.backward()
        return mean

    optimizer.step(loss)
    return value.eval().requires_grad_(False)


def _decisions(samples: Sequence[Samples]) -> Samples:
    """Return the steps that are some, as samples [M, 1], at most 20,000 of them, evenly spaced."""
    masks = [one.mask if one.mask is not None else torch.ones_like(one.returns, dtype=torch.bool) for one in samples]
    observation = torch.cat([one.observation[mask] for one, mask in zip(samples, masks, strict=True)])  # [M, F]
    returns = torch.cat([one.returns[mask] for one, mask in zip(samples, masks, strict=True)])  # [M]
    every = -(-len(returns) // ROWS)
    return Samples(observation[::every, None], returns[::every, None])
