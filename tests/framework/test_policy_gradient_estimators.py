"""Policy gradients with every baseline against exact ones: over all trajectories with their probabilities, and sampled.

Enumerated, the expectation of the estimate is the gradient to rounding. Sampled, each component of the mean of 100,000
trajectories is within four standard errors, at fixed seeds; that the tests would notice is tested by estimates that are
known to be biased. Legend: T time, N trajectories, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from framework import Baseline, Samples, Update, generalized_advantages, returns_to_go
from framework.dynamic_programming import action_values, discounted_visits, policy_gradient, state_values
from framework.markov import FiniteMDP
from framework.trajectories import enumerate_trajectories
from framework_plugins.baselines.leave_one_out import LeaveOneOut
from framework_plugins.baselines.moving_average import MovingAverage
from framework_plugins.baselines.time_dependent import TimeDependent
from framework_plugins.baselines.value import Value
from framework_plugins.updates.a2c import A2C
from framework_plugins.updates.ppo import PPO
from framework_plugins.updates.reinforce import Reinforce
from tests.framework.finite_processes import random_logits, random_process
from tests.plugins.updates.decisions import decisions

EPISODES = 100_000
STEPS = 40  # half of the episodes end at each step: none of them is left after that
GROUP = 4  # trajectories side by side, for leave_one_out
EXACT = {"rtol": 1e-11, "atol": 1e-12}  # float64 sums of thousands of terms


@dataclass(frozen=True)
class Course:
    """What happened in N trajectories, [T, N] each; `following` is s_{t+1}, 0 where there is none."""

    mdp: FiniteMDP
    logits: Tensor
    state: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    following: Tensor
    mask: Tensor

    def returns(self, next_values: Tensor | float = 0.0) -> Tensor:
        if isinstance(next_values, Tensor):  # of each state
            next_values = next_values[self.following]
        return returns_to_go(
            self.reward,
            terminated=self.terminated,
            truncated=torch.zeros_like(self.terminated),
            next_values=next_values,
            discount=self.mdp.discount,
            mask=self.mask,
        )

    def advantages(self, values: Tensor, trace: float) -> Tensor:
        return generalized_advantages(
            self.reward,
            values[self.state],
            terminated=self.terminated,
            truncated=torch.zeros_like(self.terminated),
            next_values=values[self.following],
            discount=self.mdp.discount,
            trace=trace,
            mask=self.mask,
        )[0]

    def samples(self, returns: Tensor, together: int | None = None) -> Samples:
        """Return the steps as samples [K, B]: K trajectories side by side, all of them or as many as told."""
        time = torch.arange(len(returns))[:, None].expand_as(returns)
        shape = (together or returns.shape[1], -1)  # [K, N/K·T]
        return Samples(*(_in_groups(each, shape) for each in (self.state, returns, time, self.mask)))

    def baseline(self, baseline: Baseline, returns: Tensor, together: int | None = None) -> Tensor:
        """Return b, [T, N]."""
        steps, count = returns.shape
        with torch.no_grad():
            found: Tensor = baseline(self.samples(returns, together))  # [K, N/K·T]
        return found.view(count, steps).T

    def gradients(self, advantage: Tensor, *, update: Update | None = None, discounted: bool = True) -> Tensor:
        """Return the estimate of ∇J from each trajectory, [N, S, A]."""
        steps, count = advantage.shape
        leaf = self.logits.expand(count, -1, -1).clone().requires_grad_()
        log_prob = leaf.log_softmax(-1)[torch.arange(count), self.state, self.action]  # [T, N]
        weight = self.mdp.discount ** torch.arange(steps).double()[:, None].expand_as(advantage)
        loss, _ = (update or Reinforce())(
            decisions(log_prob, advantage, weight=weight if discounted else None, mask=self.mask)
        )
        torch.where(self.mask, loss, 0.0).sum().backward()
        assert leaf.grad is not None
        return -leaf.grad


def _in_groups(each: Tensor, shape: tuple[int, int]) -> Tensor:
    return each.T.reshape(shape)


def sampled(seed: int, mdp: FiniteMDP, logits: Tensor, episodes: int, steps: int) -> Course:
    """Trajectories drawn by the inverse of the distribution functions, all at once."""
    generator = torch.Generator().manual_seed(seed)
    outcomes = torch.cat([mdp.transitions, mdp.termination[..., None]], -1).cumsum(-1)  # [S, A, S + 1]; the end is last
    choices, start = logits.softmax(-1).cumsum(-1), mdp.start.cumsum(0)

    def draw(sums: Tensor) -> Tensor:
        uniform = torch.rand(episodes, 1, generator=generator, dtype=torch.float64)
        return (uniform >= sums[..., :-1]).sum(-1)

    state, going = draw(start), torch.ones(episodes, dtype=torch.bool)
    rows = []
    for _ in range(steps):
        action = draw(choices[state])
        following = draw(outcomes[state, action])
        ends = following == mdp.states
        following = following.masked_fill(ends, 0)
        reward = mdp.rewards[state, action].masked_fill(~going, 0.0)
        rows.append((state, action, reward, ends & going, following, going))
        state, going = following, going & ~ends
    return Course(mdp, logits, *(torch.stack(each) for each in zip(*rows, strict=True)))


def enumerated(mdp: FiniteMDP, logits: Tensor, horizon: int) -> tuple[Course, Tensor]:
    """Every trajectory, and their probabilities [N]."""
    every = list(enumerate_trajectories(mdp, logits.softmax(-1), horizon))
    state, action, following = torch.zeros(3, horizon, len(every), dtype=torch.int64)
    reward = torch.zeros(horizon, len(every), dtype=torch.float64)
    terminated, mask = torch.zeros(2, horizon, len(every), dtype=torch.bool)
    for n, one in enumerate(every):
        length = len(one.states)
        state[:length, n], action[:length, n] = torch.tensor(one.states), torch.tensor(one.actions)
        reward[:length, n], mask[:length, n] = torch.tensor(one.rewards, dtype=torch.float64), True
        ahead = [*one.states[1:], 0 if one.final is None else one.final]
        following[:length, n], terminated[length - 1, n] = torch.tensor(ahead), one.final is None
    probability = torch.tensor([one.probability for one in every], dtype=torch.float64)
    return Course(mdp, logits, state, action, reward, terminated, following, mask), probability


def gradient_up_to(mdp: FiniteMDP, logits: Tensor, horizon: int) -> Tensor:
    """∇ of the expected return of the first steps alone, by values that are counted backwards."""
    leaf = logits.clone().requires_grad_()
    policy, values = leaf.softmax(-1), torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(horizon):
        values = (policy * (mdp.rewards + mdp.discount * (mdp.transitions @ values))).sum(-1)
    return torch.autograd.grad(mdp.start @ values, leaf)[0]


def gradient_of_decisions_up_to(mdp: FiniteMDP, logits: Tensor, horizon: int) -> Tensor:
    """The first steps' part of ∇J = Σ_t γ^t Σ_s p(s_t = s) Σ_a ∇π(a|s)·q(s, a): those after are decided elsewhere."""
    leaf = logits.clone().requires_grad_()
    policy = leaf.detach().softmax(-1)
    visits, now = torch.zeros_like(mdp.start), mdp.start
    for _ in range(horizon):
        visits = visits + now
        now = mdp.discount * torch.einsum("s,sa,sat->t", now, policy, mdp.transitions)
    choices = action_values(mdp, state_values(mdp, policy))
    return torch.autograd.grad((visits[:, None] * leaf.softmax(-1) * choices).sum(), leaf)[0]


def table(values: Tensor) -> Value:
    baseline = Value(observation_space=Discrete(len(values))).double()
    (parameter,) = baseline.parameters()
    parameter.data.copy_(values)
    return baseline


def learned(baseline: Baseline, *courses: Course) -> Baseline:
    """A baseline that has seen other trajectories than those it is tried on."""
    baseline.double()
    for course in courses:
        baseline.update(course.samples(course.returns()))
    return baseline


# Enumerated ----------------------------------------------------------------------------------------------------------


def small(seed: int) -> tuple[FiniteMDP, Tensor]:
    mdp = random_process(seed, states=2, actions=2, discount=0.8, ends=0.3)
    return mdp, random_logits(seed, mdp)


@pytest.mark.parametrize("seed", range(3))
def test_the_expectation_is_the_gradient_with_any_baseline_that_leaves_the_sample_out(seed: int) -> None:
    mdp, logits = small(seed)
    course, probability = enumerated(mdp, logits, 4)
    exact, returns = gradient_up_to(mdp, logits, 4), course.returns()
    others = [sampled(batch, mdp, logits, 50, 4) for batch in range(3)]
    for baseline in (
        None,
        learned(MovingAverage(), *others),
        learned(MovingAverage(decay=0.9), *others),
        learned(TimeDependent(steps=3), *others),
        table(torch.tensor([5.0, -3.0])),  # wrong, and no less unbiased for it
    ):
        b = torch.zeros_like(returns) if baseline is None else course.baseline(baseline, returns)
        assert baseline is None or b.any()
        found = torch.einsum("n,nsa->sa", probability, course.gradients(returns - b))
        torch.testing.assert_close(found, exact, **EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_the_expectation_over_all_pairs_is_the_gradient_with_leave_one_out(seed: int) -> None:
    mdp, logits = small(seed)
    course, probability = enumerated(mdp, logits, 2)
    count = len(probability)
    first, second = torch.cartesian_prod(torch.arange(count), torch.arange(count)).T  # [N²] each
    pairs = torch.cat([first, second])
    both = Course(mdp, logits, *(getattr(course, name)[:, pairs] for name in
                                 ("state", "action", "reward", "terminated", "following", "mask")))  # fmt: skip
    returns = both.returns()
    gradients = both.gradients(returns - both.baseline(LeaveOneOut(), returns, together=2))
    found = torch.einsum("n,nsa->sa", probability[first] * probability[second], gradients[: count**2])
    torch.testing.assert_close(found, gradient_up_to(mdp, logits, 2), **EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_with_the_exact_values_after_the_cut_each_decision_has_its_part_of_the_gradient(seed: int) -> None:
    mdp, logits = small(seed)
    course, probability = enumerated(mdp, logits, 3)
    values = state_values(mdp, logits.softmax(-1))
    exact = gradient_of_decisions_up_to(mdp, logits, 3)
    torch.testing.assert_close(  # the whole gradient, once no decision is left out
        gradient_of_decisions_up_to(mdp, logits, 500), policy_gradient(mdp, logits), **EXACT
    )
    returns = course.returns(values)
    b = course.baseline(table(values), returns)
    advantages = [returns, returns - b, *(course.advantages(values, trace) for trace in (0.0, 0.7, 1.0))]
    for advantage in advantages:
        found = torch.einsum("n,nsa->sa", probability, course.gradients(advantage))
        torch.testing.assert_close(found, exact, **EXACT)
    torch.testing.assert_close(advantages[-1], torch.where(course.mask, returns - b, 0.0), **EXACT)  # λ = 1
    cut = torch.einsum("n,nsa->sa", probability, course.gradients(course.returns()))
    assert (cut - exact).abs().max() > 1e-3  # without values, what comes after the cut is missed


def test_traces_shorter_than_1_are_biased_where_the_values_are_wrong() -> None:
    mdp, logits = small(0)
    course, probability = enumerated(mdp, logits, 3)
    wrong = torch.tensor([5.0, -3.0], dtype=torch.float64)
    found = torch.einsum("n,nsa->sa", probability, course.gradients(course.advantages(wrong, 0.5)))
    assert (found - gradient_of_decisions_up_to(mdp, logits, 3)).abs().max() > 1e-3


# Sampled -------------------------------------------------------------------------------------------------------------


@cache
def process(seed: int) -> tuple[FiniteMDP, Tensor]:
    """Every step pays 1 more than at random: a level that baselines are there to take off.

    Where returns are about as often positive as negative, V may raise the variance: it is not the best baseline, which
    weighs returns by the squared gradient of log π.
    """
    mdp = random_process(seed, states=3, actions=2, discount=0.9, ends=0.5)
    return replace(mdp, rewards=mdp.rewards + 1), random_logits(seed, mdp)


@cache
def course(seed: int) -> Course:
    return sampled(seed, *process(seed), EPISODES, STEPS)


@cache
def earlier(seed: int, batch: int = 0) -> Course:
    return sampled(100 + 10 * seed + batch, *process(seed), 500, STEPS)


def fitted(seed: int) -> Value:
    """A value function that was fitted to other trajectories by gradient descent."""
    mdp, _ = process(seed)
    baseline, samples = table(torch.zeros(mdp.states)), earlier(seed).samples(earlier(seed).returns())
    optimizer = torch.optim.SGD(baseline.parameters(), lr=2.0)
    for _ in range(50):
        optimizer.zero_grad()
        baseline.loss(samples)[samples.mask].mean().backward()
        optimizer.step()
    return baseline


def exact_values(seed: int) -> Value:
    mdp, logits = process(seed)
    return table(state_values(mdp, logits.softmax(-1)))


BASELINES: dict[str, Callable[[int], Baseline]] = {
    "moving_average": lambda seed: learned(MovingAverage(), earlier(seed), earlier(seed, 1)),
    "decaying_average": lambda seed: learned(MovingAverage(decay=0.5), earlier(seed), earlier(seed, 1)),
    "time_dependent": lambda seed: learned(TimeDependent(steps=4), earlier(seed)),
    "fitted_value": fitted,
    "exact_value": exact_values,
    "leave_one_out": lambda seed: LeaveOneOut(),
}


@cache
def estimates(seed: int, name: str | None) -> Tensor:
    """Independent estimates of ∇J, [replications, S, A]: of groups of trajectories, so that all are alike."""
    now = course(seed)
    returns = now.returns()
    advantage = returns
    if name is not None:
        advantage = returns - now.baseline(BASELINES[name](seed), returns, GROUP)
    return groups(now.gradients(advantage))


def groups(gradients: Tensor) -> Tensor:
    """Return the means of the trajectories that leave_one_out compares: [K, N/K, S, A] in `Course.samples`' order."""
    return gradients.view(GROUP, -1, *gradients.shape[1:]).mean(0)


def scores(found: Tensor, expected: Tensor | float) -> Tensor:
    """How many standard errors the mean is off, [S, A]."""
    return (found.mean(0) - expected) / (found.std(0) / len(found) ** 0.5)


def test_the_sampled_episodes_end() -> None:
    for seed in range(2):
        assert not course(seed).mask[-1].any()
        assert course(seed).terminated.sum(0).eq(1).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", [None, *BASELINES])
def test_the_mean_is_the_gradient(seed: int, name: str | None) -> None:
    assert scores(estimates(seed, name), policy_gradient(*process(seed))).abs().max() < 4


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_leaves_the_mean_as_it_is(seed: int, name: str) -> None:
    difference = estimates(seed, name) - estimates(seed, None)  # of the same trajectories
    assert difference.any()
    assert scores(difference, 0.0).abs().max() < 4


def variance(seed: int, name: str | None) -> float:
    return estimates(seed, name).var(0).sum().item()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_lowers_the_variance(seed: int, name: str) -> None:
    # A mean of three others has a third of a return's own variance: it takes off less.
    assert variance(seed, name) < (0.7 if name == "leave_one_out" else 0.5) * variance(seed, None)


@pytest.mark.parametrize("seed", range(2))
def test_a_fitted_value_function_is_about_as_good_as_the_exact_one(seed: int) -> None:
    assert variance(seed, "fitted_value") == pytest.approx(variance(seed, "exact_value"), rel=0.1)


def test_the_whole_visits_are_those_of_the_theorem() -> None:
    mdp, logits = process(0)
    now = course(0)
    discounts = mdp.discount ** torch.arange(STEPS).double()[:, None] * now.mask
    visits = torch.stack([(discounts * (now.state == state)).sum(0) for state in range(mdp.states)], -1)  # [N, S]
    assert scores(visits, discounted_visits(mdp, logits.softmax(-1))).abs().max() < 4


@pytest.mark.parametrize("trace", [0.0, 0.9, 1.0])
def test_generalized_advantages_of_exact_values_are_unbiased(trace: float) -> None:
    mdp, logits = process(0)
    found = course(0).gradients(course(0).advantages(state_values(mdp, logits.softmax(-1)), trace))
    assert scores(found, policy_gradient(mdp, logits)).abs().max() < 4


@pytest.mark.parametrize("update", [A2C(), PPO(), PPO(clip=0.01)], ids=["a2c", "ppo", "ppo_small_clip"])
def test_the_first_pass_of_every_update_is_this_gradient(update: Update) -> None:
    now = course(0)
    returns = now.returns()
    torch.testing.assert_close(now.gradients(returns, update=update), now.gradients(returns), **EXACT)


def test_biased_estimates_are_noticed() -> None:
    mdp, logits = process(0)
    now, exact = course(0), policy_gradient(mdp, logits)
    returns = now.returns()
    without_discount = now.gradients(returns, discounted=False)
    mean_of_all: Any = _in_groups(returns, (2, -1)).mean(0)  # of two trajectories, the own one among them
    shrunk = now.gradients(returns - mean_of_all.view(1, -1).expand(2, -1).reshape(EPISODES, STEPS).T)
    for biased in (without_discount, groups(shrunk)):
        assert scores(biased, exact).abs().max() > 4
