"""Returns and advantages of rollouts, as pure functions of tensors; no gradient passes through them.

A rollout is T steps of B environments, [T, B]. Row t holds what one step gave: the reward, whether the episode ended
with it, and V(s_{t+1}), the value of the observation *that this step led to*. An episode may end in two ways, which
differ in what is to come. `terminated`: nothing, the value after it is 0. `truncated` (a time limit): the task went on
unseen, V of the final observation stands for it. The same holds where the rollout itself stops, in row T − 1. Where
both are set, terminated decides.

The final observation is not where the next episode starts, and gymnasium hands it over in two ways:

* autoreset NEXT_STEP: the observation of row t + 1 is the final one, and that row is a dummy: its action is ignored and
  its reward is 0. Here `next_values = torch.cat([values[1:], last_values[None]])`, and `mask` is False on dummies.
* autoreset SAME_STEP: the observation of row t + 1 is the next episode's first. Here the values of
  `infos["final_obs"]` replace those of the same `next_values` where an episode was truncated. There are no dummies.

Legend: T time, B environments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framework.errors import OptionError


@torch.no_grad()
def returns_to_go(
    rewards: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor,
    next_values: Tensor | float,
    discount: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the discounted return from each step on.

        G_t = r_t + γ·{ 0                terminated
                      { V(s_{t+1})       truncated, or the rollout stops here
                      { G_{t+1}          otherwise

    Unbiased for the return of the policy that acted, where every episode terminates inside the rollout; otherwise as
    biased as V. r_t is the reward of the step taken in s_t, which the literature also calls R_{t+1}.

    Args:
        rewards: r, [T, B], a floating-point type, in any unit.
        terminated: [T, B], bool: the episode ended, and nothing comes after.
        truncated: [T, B], bool: the episode was cut off.
        next_values: V(s_{t+1}), [T, B], in the reward's unit, read where an episode was cut off only; or one number for
            all: 0.0 counts nothing after a cut.
        discount: γ, in [0, 1].
        mask: [T, B], bool, False on steps that are none (dummies, padding); the step before one does not go on into it.

    Returns:
        G, [T, B], in the reward's unit; 0 where the mask is False.

    Raises:
        OptionError: a shape is not that of the rewards, a type is wrong, or the discount is out of range.

    Example:
        >>> rewards = torch.ones(4, 1)
        >>> never = torch.zeros(4, 1, dtype=torch.bool)
        >>> third = torch.tensor([[False], [False], [True], [False]])
        >>> returns_to_go(rewards, terminated=third, truncated=never, next_values=10.0, discount=0.5).T
        tensor([[1.7500, 1.5000, 1.0000, 6.0000]])
        >>> returns_to_go(rewards, terminated=never, truncated=third, next_values=10.0, discount=0.5).T
        tensor([[3., 4., 6., 6.]])

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, equation 3.9,
        http://incompleteideas.net/book/the-book-2nd.html; Pardo et al., "Time Limits in Reinforcement Learning", 2018,
        https://arxiv.org/abs/1712.00378 (truncation).
    """
    _check_share("discount", discount)
    if not isinstance(next_values, Tensor):
        next_values = torch.full_like(rewards, next_values)
    mask = torch.ones_like(terminated) if mask is None else mask
    _check(rewards, next_values=next_values, terminated=terminated, truncated=truncated, mask=mask)
    goes_on = _goes_on(terminated, truncated, mask)
    after = next_values.masked_fill(terminated | goes_on, 0.0)
    returns = _backwards(rewards + discount * after, discount * goes_on.to(rewards), mask)
    return returns.masked_fill(~mask, 0.0)


@torch.no_grad()
def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor,
    next_values: Tensor,
    discount: float,
    trace: float,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the generalized advantage estimates of each step, and the returns that a value function is fitted to.

        δ_t = r_t + γ·V(s_{t+1})·[not terminated] − V(s_t),    A_t = Σ_{l ≥ 0} (γλ)^l δ_{t+l},    G_t = A_t + V(s_t)

    The sum ends with the episode, or where the rollout stops. With V exact, A is unbiased for the advantage of
    the policy that acted, whatever λ is. Otherwise λ = 1 (A = G − V, the returns to go) is biased only by what
    stands for the time after a cut, and λ = 0 (A = δ) has the least variance and the most bias. G is the λ-return.
    The advantages are not normalised.

    Args:
        rewards: r, [T, B], a floating-point type, in any unit.
        values: V(s_t), [T, B], in the reward's unit.
        terminated: [T, B], bool: the episode ended, and nothing comes after.
        truncated: [T, B], bool: the episode was cut off.
        next_values: V(s_{t+1}), [T, B], of the observation that step t led to, also where an episode ended with it.
        discount: γ, in [0, 1].
        trace: λ, in [0, 1].
        mask: [T, B], bool, False on steps that are none (dummies, padding); the step before one does not go on into it.

    Returns:
        A and G, each [T, B], in the reward's unit; 0 where the mask is False.

    Raises:
        OptionError: a shape is not that of the rewards, a type is wrong, or discount or trace is out of range.

    Example:
        >>> never = torch.zeros(2, 1, dtype=torch.bool)
        >>> advantages, returns = generalized_advantages(
        ...     torch.ones(2, 1), torch.tensor([[3.0], [2.0]]), terminated=torch.tensor([[False], [True]]),
        ...     truncated=never, next_values=torch.tensor([[2.0], [7.0]]), discount=1.0, trace=0.5)
        >>> advantages.T, returns.T
        (tensor([[-0.5000, -1.0000]]), tensor([[2.5000, 1.0000]]))

    Reference: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016,
        equation 16, https://arxiv.org/abs/1506.02438.
    """
    _check_share("discount", discount)
    _check_share("trace", trace)
    mask = torch.ones_like(terminated) if mask is None else mask
    _check(rewards, values=values, next_values=next_values, terminated=terminated, truncated=truncated, mask=mask)
    goes_on = _goes_on(terminated, truncated, mask)
    errors = rewards + discount * next_values.masked_fill(terminated, 0.0) - values  # [T, B]
    estimates = _backwards(errors, discount * trace * goes_on.to(rewards), mask)  # [T, B]
    return estimates.masked_fill(~mask, 0.0), (estimates + values).masked_fill(~mask, 0.0)


def _backwards(terms: Tensor, factors: Tensor, mask: Tensor) -> Tensor:
    """Return x_t = terms_t + factors_t·x_{t+1}, [T, B], where x is 0 after the last row and off the mask."""
    terms = terms.masked_fill(~mask, 0.0)  # what is no step may be anything, and NaN·0 is NaN
    result = torch.empty_like(terms)
    following = torch.zeros_like(terms[0])
    # One operation a step: a rollout's arithmetic is nothing beside the calls.
    for term, factor, row in zip(*(reversed(each.unbind()) for each in (terms, factors, result)), strict=True):
        following = torch.addcmul(term, factor, following, out=row)
    return result


def _goes_on(terminated: Tensor, truncated: Tensor, mask: Tensor) -> Tensor:
    """Return where the next row is the same episode's next step, [T, B]; nowhere in the last row."""
    next_is_a_step = torch.cat([mask[1:], torch.zeros_like(mask[:1])])
    return next_is_a_step & ~terminated & ~truncated


def _check(rewards: Tensor, **others: Tensor) -> None:
    if rewards.dim() != 2 or len(rewards) == 0 or not rewards.is_floating_point():
        found = f"{list(rewards.shape)} of {rewards.dtype}"
        raise OptionError("rewards", found=found, expected="[T, B] of a floating-point type with a step or more")
    for name, tensor in others.items():
        if tensor.shape != rewards.shape:
            expected = f"the rewards' shape {list(rewards.shape)}"
            raise OptionError(name, found=list(tensor.shape), expected=expected)
        if name in ("terminated", "truncated", "mask") and tensor.dtype != torch.bool:
            raise OptionError(name, found=tensor.dtype, expected="torch.bool", write=f"{name}.bool()")


def _check_share(name: str, found: float) -> None:
    if not 0 <= found <= 1:
        raise OptionError(name, found=found, expected="a number in [0, 1]")
