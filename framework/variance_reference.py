"""What a policy-gradient estimate is on average, exactly, where the environment is a table of states.

Legend: S states, A actions, P parameters of the policy.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from framework.action_distributions import CategoricalLogits
from framework.dynamic_programming import action_values, discounted_visits, state_values
from framework.errors import OptionError
from framework.learners.policy_gradient import PolicyGradient
from framework.markov import FiniteMDP, from_gymnasium
from framework.surrogate import features_of, policy_parameters

LONGEST = 10_000  # steps of a time limit that are gone through one by one


def expected_gradient(agent: PolicyGradient) -> Tensor | None:
    """Return the expectation of the score-function gradient of whole episodes, in float64.

        Σ_t w_t Σ_s p(s_t = s) Σ_a q_t(s, a)·∇π(a|s),    w_t = γ^t with the recipe's `discount_weighting`, else 1

    q_t counts what comes before the time limit. With the weights it is ∇J of the episodes as they are played.

    Returns:
        [P], in the reward's unit; None where the environment has no table, or something around it changes what is
        observed, paid or allowed, or an episode might never end.
    """
    found = _process(agent)
    if found is None:
        return None
    mdp, horizon = found
    space = agent.environment.observation_space
    assert isinstance(space, Discrete)
    policy = agent.policy(features_of(agent, torch.arange(mdp.states) + int(space.start)))
    if not isinstance(policy, CategoricalLogits):
        return None
    probabilities = policy.probs.double()  # [S, A]
    try:
        worth = decision_values(mdp, probabilities.detach(), horizon, weighted=agent.discount_weighting)
    except OptionError:  # no time limit, no discount, and an episode may go on for ever
        return None
    parameters = policy_parameters(agent)
    gradient = torch.autograd.grad((worth * probabilities).sum(), parameters, materialize_grads=True, allow_unused=True)
    return torch.cat([one.flatten() for one in gradient]).double()


def decision_values(mdp: FiniteMDP, policy: Tensor, horizon: int | None, *, weighted: bool) -> Tensor:
    """Return Σ_t w_t·p(s_t = s)·q_t(s, a), what the gradient weighs ∇π(a|s) with.

    Args:
        mdp: the process.
        policy: π(a|s), [S, A] float64.
        horizon: after how many steps an episode is truncated; None is never.
        weighted: whether w_t = γ^t, otherwise 1.

    Returns:
        [S, A] float64, in the reward's unit.

    Raises:
        OptionError: without a horizon, an episode may go on for ever.
    """
    if horizon is None:
        counting = mdp if weighted else replace(mdp, discount=1.0)
        return discounted_visits(counting, policy)[:, None] * action_values(mdp, state_values(mdp, policy))
    values, choices = torch.zeros_like(mdp.start), []
    for _ in range(horizon):  # from the last step backwards
        choices.append(action_values(mdp, values))
        values = (policy * choices[-1]).sum(1)
    visits, weight, total = mdp.start, 1.0, torch.zeros_like(mdp.rewards)
    for choice in reversed(choices):
        total = total + weight * visits[:, None] * choice
        visits = torch.einsum("s,sa,sat->t", visits, policy, mdp.transitions)
        weight *= mdp.discount if weighted else 1.0
    return total


def _process(agent: PolicyGradient) -> tuple[FiniteMDP, int | None] | None:
    """Return the process that the agent sees as it is, and its time limit; None where there is none."""
    environment = agent.environment
    space: object = environment.observation_space
    if environment.wrappers or agent.rewards is not None or agent.observations is not None:
        return None
    if not isinstance(space, Discrete):
        return None
    one = environment.make_one()
    try:
        mdp = from_gymnasium(one, discount=agent.discount)
        _, info = one.reset(seed=0)
    except OptionError:
        return None
    finally:
        one.close()
    horizon = None if one.spec is None else one.spec.max_episode_steps
    if mdp.states != space.n or "action_mask" in info or (horizon or 0) > LONGEST:
        return None
    return mdp, horizon
