"""What is exactly true of a finite Markov decision process: values, optima and ∇J, in float64.

These are oracles: learners that only see samples are tested against them. With γ = 1 an episode has to end, or its
return is no number: policies under which one may go on for ever are refused, and optima are those among the policies
under which all episodes end.

Legend: S states, A actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framework.errors import OptionError
from framework.markov import FiniteMDP, checked_policy

_NEVER = 1e-12  # a way out that is less probable than this is lost when I − P is solved in float64
_STRICTLY = 1e-12  # relative; an improvement below this is rounding, and following it could go round in circles


def state_values(mdp: FiniteMDP, policy: Tensor) -> Tensor:
    """Return the value of each state under a policy, by the linear system that it solves.

        v(s) = Σ_a π(a|s)·(r(s, a) + γ Σ_s' p(s'|s, a)·v(s')),    v = (I − γP)⁻¹ r

    Exact to rounding, and differentiable in the policy: with p = Σ_a π(a|s)·p(s'|s, a) in P, autograd passes the solve.

    Args:
        mdp: the process.
        policy: π(a|s), [S, A], a floating-point type; rows sum to 1.

    Returns:
        v, [S], float64, in the reward's unit.

    Raises:
        OptionError: the policy is none of this process, or γ = 1 and an episode may never end.

    Example:
        >>> from framework.markov import short_corridor
        >>> state_values(short_corridor(), torch.full((3, 2), 0.5))
        tensor([-12., -10.,  -6.], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, equation 3.14 (the system) and section 4.1,
        http://incompleteideas.net/book/the-book-2nd.html.
    """
    policy = checked_policy(mdp, policy)
    rewards = (policy * mdp.rewards).sum(1)  # [S]
    values: Tensor = torch.linalg.solve(_system(mdp, policy), rewards)
    return values


def action_values(mdp: FiniteMDP, values: Tensor) -> Tensor:
    """Return the value of each action, when what follows is worth `values`.

        q(s, a) = r(s, a) + γ Σ_s' p(s'|s, a)·v(s')

    Of `state_values(mdp, policy)` it makes the policy's q; of `value_iteration(mdp)` the optimal q.

    Args:
        mdp: the process.
        values: v, [S], float64, in the reward's unit.

    Returns:
        q, [S, A], float64, in the reward's unit.

    Raises:
        OptionError: the values are not one for each state.

    Example:
        >>> from framework.markov import short_corridor
        >>> action_values(short_corridor(), torch.tensor([-12.0, -10.0, -6.0]).double())
        tensor([[-13., -11.],
                [ -7., -13.],
                [-11.,  -1.]], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, equation 4.6.
    """
    if values.shape != (mdp.states,):
        raise OptionError("values", found=list(values.shape), expected=f"one for each state, [{mdp.states}]")
    return mdp.rewards + mdp.discount * (mdp.transitions @ values.double())


def greedy(action_values: Tensor, *, tolerance: float = 1e-9) -> Tensor:
    """Return the policy that takes the best action; those within the tolerance of it share the probability.

    Sharing keeps γ = 1 safe: of two actions that are equally good one may lead to nothing but its own state, and a
    policy that takes it alone would never end.

    Args:
        action_values: q, [S, A].
        tolerance: how far below the best an action still is as good, in q's unit; not negative.

    Returns:
        π(a|s), [S, A], of q's type.

    Raises:
        OptionError: the tolerance is negative.

    Example:
        >>> greedy(torch.tensor([[1.0, 2.0, 2.0], [3.0, 0.0, 1.0]]))
        tensor([[0.0000, 0.5000, 0.5000],
                [1.0000, 0.0000, 0.0000]])

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 4.2.
    """
    if not tolerance >= 0:
        raise OptionError("tolerance", found=tolerance, expected="a number not below 0")
    best = action_values >= action_values.max(1, keepdim=True).values - tolerance
    return best / best.sum(1, keepdim=True).to(action_values)


def value_iteration(mdp: FiniteMDP, tolerance: float = 1e-10, *, sweeps: int = 100_000) -> Tensor:
    """Return the optimal value of each state, by sweeps of v(s) ← max_a q(s, a) from the uniform policy's values.

    With γ < 1 it is within the tolerance of the optimum: the sweeps end when their largest change c has
    c·γ/(1 − γ) ≤ tolerance. With γ = 1 they end at c ≤ tolerance, which bounds no error. They start from a policy's
    values and not from 0, because with γ = 1 they would otherwise find the 0 of never ending, where that is better.

    Args:
        mdp: the process.
        tolerance: in the reward's unit, positive.
        sweeps: after how many without an end to give up, positive.

    Returns:
        v*, [S], float64, in the reward's unit.

    Raises:
        OptionError: tolerance or sweeps is out of range, the sweeps did not suffice, or γ = 1 and there is a state
            from which no policy ends.

    Example:
        >>> from framework.markov import short_corridor
        >>> value_iteration(short_corridor())
        tensor([-3., -2., -1.], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 4.4; Bertsekas & Yu, "Stochastic
        Shortest Path Problems Under Weak Conditions", report LIDS-2909, MIT, 2016 (γ = 1).
    """
    if not tolerance > 0:
        raise OptionError("tolerance", found=tolerance, expected="a positive number")
    if sweeps < 1:
        raise OptionError("sweeps", found=sweeps, expected="a positive number")
    remaining = mdp.discount / (1 - mdp.discount) if mdp.discount < 1 else 1.0
    values = state_values(mdp, _uniform(mdp))
    for _ in range(sweeps):
        better = action_values(mdp, values).max(1).values  # [S]
        change = (better - values).abs().max().item()
        values = better
        if change * remaining <= tolerance:
            return values
    raise OptionError(
        "sweeps",
        found=f"a change of {change:.3g} in the last of {sweeps}",
        expected=f"changes that settle to the tolerance {tolerance:g}",
        write="more sweeps, a larger tolerance, or policy_iteration; with a discount of 1 the optimum may be infinite",
    )


def policy_iteration(mdp: FiniteMDP) -> Tensor:
    """Return an optimal policy, by turns of exact evaluation and greedy improvement from the uniform policy.

    A state's actions change only where one is strictly better, so that improvement ends. A state in which all actions
    are equally good whenever it is looked at keeps them all.

    Args:
        mdp: the process.

    Returns:
        π*(a|s), [S, A], float64; its `state_values` are v*, to rounding.

    Raises:
        OptionError: γ = 1 and there is a state from which no policy ends, or the optimum is infinite.

    Example:
        >>> from framework.markov import short_corridor
        >>> policy_iteration(short_corridor())  # right, left (reversed), right
        tensor([[0., 1.],
                [1., 0.],
                [0., 1.]], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 4.3.
    """
    # With γ = 1 each policy ends, because the one before did. Were there a set of states that the new one never leaves,
    # its gain max_a q − v, averaged over the new policy's stationary distribution there, would be the average reward.
    # If that is 0, nothing was strictly better there, and the old policy would not have left either; if it is more, the
    # optimum is infinite; less it cannot be.
    policy = _uniform(mdp)
    while True:
        values = state_values(mdp, policy)
        choices = action_values(mdp, values)
        best = choices.max(1)
        better = best.values - values > _STRICTLY * (1 + values.abs().max())  # [S]
        if not bool(better.any()):
            return policy
        taken = torch.nn.functional.one_hot(best.indices, mdp.actions).double()  # [S, A]
        policy = torch.where(better[:, None], taken, policy)


def discounted_visits(mdp: FiniteMDP, policy: Tensor) -> Tensor:
    """Return how often each state is acted in, later visits counting less.

        η(s) = E Σ_t γ^t [s_t = s],    η = (I − γPᵀ)⁻¹ p(s_0)

    J = Σ_s η(s) Σ_a π(a|s)·r(s, a), and ∇J = Σ_s η(s) Σ_a ∇π(a|s)·q(s, a). It is not a distribution: it sums to
    the expected discounted length of an episode, in steps. Differentiable in the policy.

    Args:
        mdp: the process.
        policy: π(a|s), [S, A], a floating-point type; rows sum to 1.

    Returns:
        η, [S], float64, in visits.

    Raises:
        OptionError: the policy is none of this process, or γ = 1 and an episode may never end.

    Example:
        >>> from framework.markov import short_corridor
        >>> discounted_visits(short_corridor(), torch.full((3, 2), 0.5))
        tensor([6., 4., 2.], dtype=torch.float64)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 9.2 and equation 13.5.
    """
    visits: Tensor = torch.linalg.solve(_system(mdp, checked_policy(mdp, policy)).T, mdp.start)
    return visits


def policy_gradient(mdp: FiniteMDP, logits: Tensor) -> Tensor:
    """Return the gradient of the expected discounted return to the logits of a tabular softmax policy.

        J = Σ_s p(s_0 = s)·v(s),    π(a|s) ∝ exp(logits[s, a])

    Exact to rounding: J is differentiated through the linear system. It is the gradient of a return, which is to be
    *ascended*. For a policy with other parameters, differentiate `mdp.start @ state_values(mdp, policy)` itself.

    Args:
        mdp: the process.
        logits: [S, A], a floating-point type.

    Returns:
        ∇J, [S, A], float64, in the reward's unit.

    Raises:
        OptionError: the logits make no policy of this process, or γ = 1 and an episode may never end.

    Example:
        >>> from framework.markov import short_corridor
        >>> policy_gradient(short_corridor(), torch.zeros(3, 2))
        tensor([[-3.,  3.],
                [ 6., -6.],
                [-5.,  5.]], dtype=torch.float64)

    Reference: Sutton, McAllester, Singh & Mansour, "Policy Gradient Methods for Reinforcement Learning with Function
        Approximation", 2000, theorem 1,
        https://papers.nips.cc/paper/1713-policy-gradient-methods-for-reinforcement-learning-with-function-approximation.
    """
    with torch.enable_grad():
        leaf = logits.detach().double().requires_grad_()
        expected_return = mdp.start @ state_values(mdp, leaf.softmax(-1))
        (gradient,) = torch.autograd.grad(expected_return, leaf)
    return gradient


def _uniform(mdp: FiniteMDP) -> Tensor:
    return torch.full_like(mdp.rewards, 1 / mdp.actions)  # [S, A]


def _system(mdp: FiniteMDP, policy: Tensor) -> Tensor:
    """Return I − γP, [S, S], of a checked policy; with γ = 1 only where every episode ends, or it has no inverse."""
    if mdp.discount == 1:
        endless = _endless(mdp, policy.detach())
        if bool(endless.any()):
            raise OptionError(
                "policy",
                found=f"one under which an episode goes on for ever from state {int(endless.nonzero()[0, 0])}",
                expected="with a discount of 1, a policy under which every episode ends",
                write="a discount below 1, or a policy that leaves no action out",
            )
    following = torch.einsum("sa,sat->st", policy, mdp.transitions)  # [S, S]
    return torch.eye(mdp.states, dtype=torch.float64) - mdp.discount * following


def _endless(mdp: FiniteMDP, policy: Tensor) -> Tensor:
    """Return, for each state, whether no sequence of steps from it ends the episode, [S], bool."""
    ends = (policy * mdp.termination).sum(1) > _NEVER  # [S]
    leads = torch.einsum("sa,sat->st", policy, mdp.transitions) > _NEVER  # [S, S]
    for _ in range(mdp.states):  # from the end backwards, one step further each time
        grown = ends | (leads & ends).any(1)
        if torch.equal(grown, ends):
            break
        ends = grown
    return ~ends
