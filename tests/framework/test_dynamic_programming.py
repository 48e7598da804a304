"""Values, optima and gradients against closed forms, published optima, shortest paths and enumerated trajectories.

Tolerances: float64 through a linear system of a few states agrees to 1e-9 and better; central differences of step 1e-5
to 1e-7, their own error; trajectories that all end, to 1e-10.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import gymnasium
import pytest
import torch
from torch import Tensor

from framework import OptionError
from framework.dynamic_programming import (
    action_values,
    discounted_visits,
    greedy,
    policy_gradient,
    policy_iteration,
    state_values,
    value_iteration,
)
from framework.estimators import score_function
from framework.markov import FiniteMDP, from_gymnasium, short_corridor
from framework.returns import returns_to_go
from framework.trajectories import enumerate_trajectories
from tests.framework.finite_processes import chain, random_logits, random_process

SEEDS = range(3)
each_seed = pytest.mark.parametrize("seed", SEEDS)


def right_with(probability: Tensor | float) -> Tensor:
    """The policy that goes right with this probability in each of the corridor's states, [3, 2]."""
    right = torch.as_tensor(probability, dtype=torch.float64)
    return torch.stack([1 - right, right]).expand(3, 2)


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.5, 2 - math.sqrt(2), 0.95])
def test_the_short_corridor_has_its_closed_form(probability: float) -> None:
    value = state_values(short_corridor(), right_with(probability))[0].item()
    assert value == pytest.approx((2 * probability - 4) / (probability * (1 - probability)), abs=1e-9)


def test_the_short_corridor_has_its_published_values_and_optimum() -> None:
    """Sutton & Barto, example 13.1: −82 and −44 at ε-greedy, −11.6 at the best, p ≈ 0.59."""
    for probability, value in ((0.05, -82.10526), (0.95, -44.21053), (2 - math.sqrt(2), -(6 + 4 * math.sqrt(2)))):
        assert state_values(short_corridor(), right_with(probability))[0].item() == pytest.approx(value, abs=1e-5)
    best = torch.tensor(2 - math.sqrt(2), dtype=torch.float64, requires_grad=True)
    value = state_values(short_corridor(), right_with(best))[0]
    assert value.item() == pytest.approx(-(6 + 4 * math.sqrt(2)), abs=1e-9)
    (slope,) = torch.autograd.grad(value, best)
    assert slope.item() == pytest.approx(0.0, abs=1e-9)
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    assert all(state_values(short_corridor(), right_with(p))[0] < value for p in grid)


def one_way(mdp: FiniteMDP) -> FiniteMDP:
    """The process with an end in place of every way back: all episodes end within S steps."""
    transitions = mdp.transitions * torch.ones(mdp.states, mdp.states).triu(1)[:, None]
    return replace(mdp, transitions=transitions, termination=1 - transitions.sum(2))


def discounted(rewards: tuple[float, ...], discount: float) -> float:
    return sum(discount**t * reward for t, reward in enumerate(rewards))


@each_seed
@pytest.mark.parametrize("discount", [0.0, 0.6])
def test_values_are_those_of_all_trajectories(seed: int, discount: float) -> None:
    """Up to a horizon H, the rest being worth at most γ^H max|r|/(1 − γ)."""
    mdp = random_process(seed, states=2, actions=2, discount=discount, ends=0.3)
    policy, horizon = random_logits(seed, mdp).softmax(1), 6
    expected = mdp.start @ state_values(mdp, policy)
    found = sum(
        one.probability * discounted(one.rewards, discount) for one in enumerate_trajectories(mdp, policy, horizon)
    )
    bound = discount**horizon * mdp.rewards.abs().max().item() / (1 - discount)
    assert abs(expected.item() - found) <= bound + 1e-12


@each_seed
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_values_stand_for_what_comes_after_the_horizon(seed: int, discount: float) -> None:
    """Exactly: trajectories cut off, with γ^H v(s_H) in place of the rest."""
    mdp = random_process(seed, states=3, actions=2, discount=discount, ends=0.3)
    policy = random_logits(seed, mdp).softmax(1)
    values = state_values(mdp, policy)
    found = 0.0
    for one in enumerate_trajectories(mdp, policy, 4):
        rest = 0.0 if one.final is None else values[one.final].item()
        found += one.probability * (discounted(one.rewards, discount) + discount**4 * rest)
    assert found == pytest.approx((mdp.start @ values).item(), abs=1e-12)


@each_seed
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_values_are_the_policys_mean_of_action_values(seed: int, discount: float) -> None:
    mdp = random_process(seed, discount=discount)
    policy = random_logits(seed, mdp).softmax(1)
    values = state_values(mdp, policy)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for s in range(4):
        for a in range(3):
            ahead = sum(mdp.transitions[s, a, t].item() * values[t].item() for t in range(4))
            expected[s, a] = mdp.rewards[s, a] + discount * ahead
    torch.testing.assert_close(action_values(mdp, values), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((policy * expected).sum(1), values, rtol=1e-12, atol=1e-12)


@each_seed
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_visits_are_counted_along_all_trajectories(seed: int, discount: float) -> None:
    mdp = random_process(seed, states=2, actions=2, discount=discount, ends=0.9)
    policy, horizon = random_logits(seed, mdp).softmax(1), 6
    counted = torch.zeros(2, dtype=torch.float64)
    for one in enumerate_trajectories(mdp, policy, horizon):
        for t, state in enumerate(one.states):
            counted[state] += one.probability * discount**t
    visits = discounted_visits(mdp, policy)
    left = (discount * 0.1) ** horizon / 0.1  # of ten episodes one goes on
    assert (visits - counted).abs().max() <= left
    torch.testing.assert_close(visits.sum(), torch.tensor(1 / (1 - 0.1 * discount)).double(), rtol=1e-7, atol=0)


@each_seed
def test_visits_and_rewards_make_the_expected_return(seed: int) -> None:
    mdp = random_process(seed)
    policy = random_logits(seed, mdp).softmax(1)
    expected = mdp.start @ state_values(mdp, policy)
    found = (discounted_visits(mdp, policy)[:, None] * policy * mdp.rewards).sum()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def central_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    slopes = torch.zeros_like(at)
    for index in range(at.numel()):
        nudge = torch.zeros_like(at)
        nudge.view(-1)[index] = step
        slopes.view(-1)[index] = (function(at + nudge) - function(at - nudge)) / (2 * step)
    return slopes


@each_seed
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_gradient_is_that_of_finite_differences_and_of_the_policy_gradient_theorem(
    seed: int, discount: float
) -> None:
    mdp = random_process(seed, discount=discount)
    logits = random_logits(seed, mdp)
    gradient = policy_gradient(mdp, logits)
    slopes = central_differences(lambda at: mdp.start @ state_values(mdp, at.softmax(1)), logits)
    torch.testing.assert_close(gradient, slopes, rtol=1e-7, atol=1e-7)
    policy = logits.softmax(1)
    values = state_values(mdp, policy)
    # Σ_a ∇π(a|s)·q(s, a) of a softmax is π(a|s)·(q(s, a) − v(s))
    theorem = discounted_visits(mdp, policy)[:, None] * policy * (action_values(mdp, values) - values[:, None])
    torch.testing.assert_close(gradient, theorem, rtol=1e-10, atol=1e-10)


@each_seed
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_score_function_over_all_trajectories_gives_the_gradient(seed: int, discount: float) -> None:
    """REINFORCE without its noise: Σ P(τ) Σ_t γ^t G_t ∇log π(a_t|s_t), by the functions that learners call."""
    mdp = one_way(random_process(seed, discount=discount))
    logits = random_logits(seed, mdp)
    leaf = logits.clone().requires_grad_()
    log_policy = leaf.log_softmax(1)
    total = torch.zeros((), dtype=torch.float64)
    for one in enumerate_trajectories(mdp, logits.softmax(1), mdp.states):
        assert one.final is None
        steps = len(one.states)
        never = torch.zeros(steps, 1, dtype=torch.bool)
        last = never.clone()
        last[-1] = True
        rewards = torch.tensor(one.rewards, dtype=torch.float64)[:, None]  # [T, 1]
        returns = returns_to_go(rewards, terminated=last, truncated=never, next_values=0.0, discount=discount)
        log_prob = log_policy[list(one.states), list(one.actions)][:, None]  # [T, 1]
        weight = one.probability * discount ** torch.arange(steps, dtype=torch.float64)[:, None]
        total = total + score_function(log_prob, -returns, weight=weight).sum()
    total.backward()
    assert leaf.grad is not None
    torch.testing.assert_close(-leaf.grad, policy_gradient(mdp, logits), rtol=1e-10, atol=1e-10)


@each_seed
@pytest.mark.parametrize("discount", [0.5, 0.95, 1.0])
def test_value_iteration_and_policy_iteration_agree(seed: int, discount: float) -> None:
    mdp = random_process(seed, discount=discount)
    optimum = value_iteration(mdp, tolerance=1e-12)
    policy = policy_iteration(mdp)
    torch.testing.assert_close(state_values(mdp, policy), optimum, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state_values(mdp, greedy(action_values(mdp, optimum))), optimum, rtol=1e-9, atol=1e-9)
    assert torch.equal(policy, greedy(action_values(mdp, optimum)))  # no ties among random numbers


@each_seed
def test_no_deterministic_policy_is_better_than_the_optimum(seed: int) -> None:
    mdp = random_process(seed, states=3, actions=2)
    optimum = value_iteration(mdp)
    choices = torch.cartesian_prod(*[torch.arange(2)] * 3)  # [8, 3]
    values = torch.stack(
        [state_values(mdp, torch.nn.functional.one_hot(choice, 2).double()) for choice in choices]
    )  # [8, 3]
    torch.testing.assert_close(values.max(0).values, optimum, rtol=1e-9, atol=1e-9)


@each_seed
@pytest.mark.parametrize("discount", [0.5, 0.99])
def test_value_iteration_is_within_its_tolerance(seed: int, discount: float) -> None:
    mdp = random_process(seed, discount=discount, ends=0.0)
    exact = state_values(mdp, policy_iteration(mdp))
    for tolerance in (1e-1, 1e-4, 1e-8):
        assert (value_iteration(mdp, tolerance) - exact).abs().max() <= tolerance + 1e-10


def table(name: str, discount: float = 1.0) -> FiniteMDP:
    return from_gymnasium(gymnasium.make(name), discount=discount)


@pytest.mark.parametrize(("name", "optimum"), [("FrozenLake-v1", 14 / 17), ("CliffWalking-v1", -13.0)])
def test_gymnasiums_tables_have_their_known_optima(name: str, optimum: float) -> None:
    mdp = table(name)
    for values in (value_iteration(mdp, 1e-13), state_values(mdp, policy_iteration(mdp))):
        assert (mdp.start @ values).item() == pytest.approx(optimum, abs=1e-9)


def test_on_frozen_lake_equally_good_actions_share_and_the_policy_ends() -> None:
    """With γ = 1 the first of the best actions alone may stay for ever in its place; sharing does not."""
    mdp = table("FrozenLake-v1")
    optimum = value_iteration(mdp, 1e-13)
    policy = greedy(action_values(mdp, optimum))
    assert policy.count_nonzero(1).max() > 1
    torch.testing.assert_close(state_values(mdp, policy), optimum, rtol=1e-8, atol=1e-8)


def test_the_taxis_optimum_is_the_shortest_way() -> None:
    """Nothing of a taxi is left to chance: breadth-first search from the end gives 20 − (steps − 1)."""
    mdp = table("Taxi-v3")
    before: dict[int, list[int]] = {}
    for state, _, following in mdp.transitions.nonzero().tolist():
        before.setdefault(following, []).append(state)
    steps = {state: 1 for state, _ in mdp.termination.nonzero().tolist()}
    queue = deque(steps)
    while queue:
        state = queue.popleft()
        for earlier in before.get(state, []):
            if earlier not in steps:
                steps[earlier] = steps[state] + 1
                queue.append(earlier)
    assert len(steps) == mdp.states
    shortest = torch.tensor([21.0 - steps[state] for state in range(mdp.states)], dtype=torch.float64)
    for values in (value_iteration(mdp), state_values(mdp, policy_iteration(mdp))):
        torch.testing.assert_close(values, shortest, rtol=0, atol=1e-9)
        assert mdp.start @ values > 0
    assert (mdp.start @ shortest).item() == pytest.approx(7.93, abs=0.005)  # published for Taxi


def test_with_discount_1_the_optima_are_those_of_policies_that_end() -> None:
    """Staying for ever pays 0 and ending costs 1; nobody may stay for ever. With a discount below 1 one may."""
    mdp = chain((0.0, 0))
    assert value_iteration(mdp).tolist() == [-1.0]
    assert state_values(mdp, policy_iteration(mdp)).tolist() == pytest.approx([-1.0], abs=1e-12)
    # An improvement elsewhere does not turn a state to an action that is only as good, here to stay.
    two = chain((0.0, 0), (5.0, None))
    assert state_values(two, policy_iteration(two)).tolist() == pytest.approx([-1.0, 5.0], abs=1e-12)
    patient = chain((0.0, 0), discount=0.9)
    assert value_iteration(patient).tolist() == pytest.approx([0.0], abs=1e-9)
    assert policy_iteration(patient).tolist() == [[1.0, 0.0]]


def test_an_infinite_optimum_is_refused() -> None:
    mdp = chain((1.0, 0))
    with pytest.raises(OptionError, match="goes on for ever from state 0"):
        policy_iteration(mdp)
    with pytest.raises(OptionError) as caught:
        value_iteration(mdp, sweeps=50)
    assert str(caught.value) == (
        "sweeps: expected changes that settle to the tolerance 1e-10, found a change of 1 in the last of 50; "
        "write more sweeps, a larger tolerance, or policy_iteration; with a discount of 1 the optimum may be infinite"
    )


NEVER_ENDS = (
    "policy: expected with a discount of 1, a policy under which every episode ends, found one under which an episode "
    "goes on for ever from state 0; write a discount below 1, or a policy that leaves no action out"
)


def test_with_discount_1_a_policy_that_may_never_end_is_refused() -> None:
    only_left = right_with(0.0)
    for function in (state_values, discounted_visits):
        with pytest.raises(OptionError) as caught:
            function(short_corridor(), only_left)
        assert str(caught.value) == NEVER_ENDS
    assert state_values(short_corridor(discount=0.9), only_left)[0].item() == pytest.approx(-10.0)
    extreme = torch.tensor([[800.0, 0.0]] * 3)  # whose softmax underflows to exactly left
    with pytest.raises(OptionError) as caught:
        policy_gradient(short_corridor(), extreme)
    assert str(caught.value) == NEVER_ENDS


def test_with_discount_1_a_process_that_cannot_end_is_refused() -> None:
    mdp = random_process(0, discount=1.0, ends=0.0)
    for function in (value_iteration, policy_iteration):
        with pytest.raises(OptionError) as caught:
            function(mdp)
        assert str(caught.value) == NEVER_ENDS


def test_greedy_takes_the_best_and_shares_among_equals() -> None:
    values = torch.tensor([[1.0, 1.0 - 1e-12, 0.0], [0.0, -1.0, 2.0]], dtype=torch.float64)
    assert greedy(values).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    assert greedy(values, tolerance=0.0).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert greedy(values, tolerance=5.0).sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert greedy(values.float()).dtype == torch.float32


def test_arguments_out_of_range_are_refused() -> None:
    mdp = short_corridor()
    for call, message in [
        (lambda: value_iteration(mdp, 0.0), "tolerance: expected a positive number, found 0.0"),
        (lambda: value_iteration(mdp, sweeps=0), "sweeps: expected a positive number, found 0"),
        (lambda: greedy(torch.zeros(1, 2), tolerance=-1.0), "tolerance: expected a number not below 0, found -1.0"),
        (lambda: action_values(mdp, torch.zeros(2)), "values: expected one for each state, [3], found [2]"),
        (lambda: state_values(mdp, torch.ones(3, 1)), "policy: expected [S, A], [3, 2], found [3, 1]"),
        (lambda: discounted_visits(mdp, torch.ones(3, 1)), "policy: expected [S, A], [3, 2], found [3, 1]"),
        (lambda: policy_gradient(mdp, torch.zeros(3, 1)), "policy: expected [S, A], [3, 2], found [3, 1]"),
    ]:
        with pytest.raises(OptionError) as caught:
            call()
        assert str(caught.value) == message


def test_the_gradient_leaves_the_logits_as_they_were() -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    with torch.no_grad():
        gradient = policy_gradient(short_corridor(), logits)
    assert gradient.dtype == torch.float64
    assert not gradient.requires_grad
    assert logits.grad is None
