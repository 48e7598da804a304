"""The score-function gradients of a frozen policy, one for each baseline, of one and the same rollout.

Legend: T time, N environments, P parameters of the policy, E estimators.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from framework.action_distributions import allowing
from framework.baseline import Baseline, Samples
from framework.estimators import score_function
from framework.learners.policy_gradient import PolicyGradient
from framework.returns import returns_to_go
from framework.rollout import Rollout


def policy_parameters(agent: PolicyGradient) -> list[nn.Parameter]:
    """Return the parameters of the policy, and of a trunk that it shares."""
    parts = [part for part in (agent.trunk, agent.policy) if part is not None]
    return [parameter for part in parts for parameter in part.parameters()]


def features_of(agent: PolicyGradient, observation: Tensor) -> Tensor:
    """Return what policy and baseline see of observations [*batch, *shape], with a graph."""
    if agent.observations is not None:
        observation = agent.observations(observation)
    return observation if agent.trunk is None else agent.trunk(observation)


@torch.no_grad()
def samples_of(agent: PolicyGradient, rollout: Rollout) -> Samples:
    """Return whole episodes as the samples that baselines take: K environments of B steps.

    The returns are those of the recipe's discount. An episode that was truncated counts as ended, whatever the
    baseline.
    """
    reward = rollout.reward if agent.rewards is None else agent.rewards(rollout.reward)
    returns = returns_to_go(
        reward,
        terminated=rollout.terminated,
        truncated=rollout.truncated,
        mask=rollout.mask,
        next_values=0.0,
        discount=agent.discount,
    )  # [T, N]
    features = features_of(agent, rollout.observation[:-1]).transpose(0, 1)  # [N, T, F]
    return Samples(features, returns.T, rollout.time.T, rollout.mask.T)


def gradients(agent: PolicyGradient, rollout: Rollout, baselines: Iterable[Baseline | None]) -> Tensor:
    """Return an estimate of the gradient of the expected return with each baseline.

        g = 1/N Σ_n Σ_t w_t·(G_t − b_t)·∇log π(a_t|s_t),    w_t = γ^t with the recipe's `discount_weighting`, else 1

    Unbiased for ∇J (without the weights, for the gradient that leaves them out) where b_t does not depend on a_t and
    what came of it.

    Args:
        agent: what acted; its parameters are left as they are.
        rollout: of whole episodes.
        baselines: b; None is 0.

    Returns:
        g, [E, P] float64, in the reward's unit; to be ascended.
    """
    parameters, samples, mask = policy_parameters(agent), samples_of(agent, rollout), rollout.mask
    returns = samples.returns.T  # [T, N]
    policy = agent.policy(features_of(agent, rollout.observation[:-1]))
    if rollout.action_mask is not None:
        policy = allowing(policy, rollout.action_mask[:-1])
    log_prob = policy.log_prob(rollout.action)  # [T, N]
    weight = agent.discount ** rollout.time.to(returns) if agent.discount_weighting else 1.0
    rows = []
    for baseline in baselines:
        with torch.no_grad():
            compared = 0.0 if baseline is None else baseline(samples).T  # [T, N]
        surrogate = score_function(log_prob, returns, compared, weight).masked_fill(~mask, 0.0).sum() / mask.shape[1]
        found = torch.autograd.grad(surrogate, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([one.flatten() for one in found]).double())
    return torch.stack(rows)
