"""Bias and variance of every policy-gradient estimator at one frozen state of one run, on the same rollouts.

Legend: R rollouts, E estimators, P parameters of the policy, D directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from framework.baseline import Baseline
from framework.collector import Collector
from framework.episodes import longest
from framework.errors import Problem, RecipeError
from framework.learners.policy_gradient import PolicyGradient
from framework.randomness import key, rekey
from framework.rollout import Rollout
from framework.surrogate import gradients, policy_parameters, samples_of
from framework.variance_baselines import compared_baselines
from framework.variance_reference import expected_gradient

FEWEST = 10  # rollouts: a standard error of fewer says nothing
RANDOM_DIRECTIONS = 10
ONCE_IN = 100  # tables of unbiased estimators, in which some |z| is beyond the limit
NONE = "none"


@dataclass(frozen=True)
class Estimator:
    """A baseline, and what the gradient estimates with it are like.

    Args:
        name: of the baseline.
        variance: the trace of the covariance of one rollout's estimate, in the reward's unit squared.
        ratio: of the variance to that without a baseline; None where that is 0.
        standard_error: of the mean over all rollouts, √(variance/R).
        z: of D directions, the largest distance in standard errors between the mean and what it should be; None where
            nothing tells, or where this is what the others are compared with.
    """

    name: str
    variance: float
    ratio: float | None
    standard_error: float
    z: float | None


@dataclass(frozen=True)
class Comparison:
    """Estimators on the same rollouts.

    Args:
        estimators: the first is without a baseline.
        reference: what z compares with: `exact`, the expectation, or `none`, the estimate without a baseline.
        rollouts: R.
        earlier: how many other rollouts the baselines' statistics, and the direction of the mean, are of.
        episodes: N, in a rollout.
        mean_return: undiscounted, of all the episodes.
        parameters: P.
        directions: D.
        limit: an unbiased estimator is beyond it, anywhere in the table, once in a hundred tables (Bonferroni).
        notes: what a reader should know, a sentence each.
    """

    estimators: list[Estimator]
    reference: str
    rollouts: int
    earlier: int
    episodes: int
    mean_return: float
    parameters: int
    directions: int
    limit: float
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self)


def compare(
    agent: PolicyGradient, *, rollouts: int, seed: int = 0, others: Mapping[str, Baseline] | None = None
) -> Comparison:
    """Return bias and variance of the score-function gradient with each baseline; the agent does not learn.

        g = 1/N Σ_n Σ_t w_t·(G_t − b_t)·∇log π(a_t|s_t),    z = max_d |mean_r u_d·(g_r − g*)| / standard error

    g* is the exact expectation where the environment is a table of states, otherwise the estimate of the same rollout
    without a baseline, which is unbiased. The directions u_d are ten random ones, and that of the mean of other
    rollouts. Episodes are whole, whatever the agent's update cuts, and a truncated one counts as ended.

    Args:
        agent: on the CPU, one policy for all its environments.
        rollouts: R, 10 or more, independent, of one episode in each environment (two environments or more).
        seed: of environments and draws.
        others: baselines to be compared beside the house's.

    Raises:
        RecipeError: too few rollouts, or environments that are runs of their own.

    Reference: Greensmith, Bartlett & Baxter, "Variance Reduction Techniques for Gradient Estimates in Reinforcement
        Learning", JMLR 2004, https://jmlr.org/papers/v5/greensmith04a.html.
    """
    _check(agent, rollouts)
    agent.eval()
    count, earlier = max(2, agent.environment.num_envs), max(2 * FEWEST, rollouts // 4)
    rekey(seed, "fw variance/initialise", 0)
    warm_up = list(_rollouts(agent, count, earlier, seed, "fw variance/earlier"))
    compared: dict[str, Baseline | None] = {NONE: None}
    compared |= compared_baselines(agent, [samples_of(agent, one) for one in warm_up])
    compared |= others or {}
    mean = sum(gradients(agent, one, [None])[0] for one in warm_up) / earlier
    directions = _directions(torch.as_tensor(mean), seed)
    moments = _Moments()
    returns: list[float] = []
    for rollout in _rollouts(agent, count, rollouts, seed, "fw variance/rollouts"):
        moments.take(gradients(agent, rollout, compared.values()), directions)
        returns += rollout.reward.double().masked_fill(~rollout.mask, 0.0).sum(0).tolist()
    exact = expected_gradient(agent)
    scores = moments.scores(None if exact is None else exact @ directions)
    notes = [] if count == agent.environment.num_envs else ["two environments, for leave_one_out to have another one"]
    return Comparison(
        estimators=_estimators(list(compared), moments.variances(), scores, rollouts),
        reference=NONE if exact is None else "exact",
        rollouts=rollouts,
        earlier=earlier,
        episodes=count,
        mean_return=sum(returns) / len(returns),
        parameters=len(directions),
        directions=directions.shape[1],
        limit=_limit(directions.shape[1] * (len(compared) - (exact is None))),
        notes=notes,
    )


def describe(comparison: Comparison) -> str:
    """Return the table, and what its numbers are."""
    width = max(len(one.name) for one in comparison.estimators) + 3
    lines = [
        f"{comparison.parameters:,} parameters of the policy, mean return {comparison.mean_return:.2f}",
        f"{comparison.rollouts} rollouts of {comparison.episodes} whole episodes, the same for all; baselines know "
        f"{comparison.earlier} others",
        "",
        f"{'baseline':<{width}}{'variance':>12}{'of none':>10}{'standard error':>17}{'bias z':>9}",
    ]
    for one in comparison.estimators:
        ratio = "–" if one.ratio is None else f"{one.ratio:.3f}"
        z = "–" if one.z is None else f"{one.z:.2f}"
        lines.append(f"{one.name:<{width}}{one.variance:>12.4g}{ratio:>10}{one.standard_error:>17.4g}{z:>9}")
    target = "the exact expectation" if comparison.reference == "exact" else "the estimate without a baseline"
    lines += [
        "",
        "variance: of one rollout's gradient, the trace of its covariance; standard error: of the mean of all",
        f"bias z: the largest of {comparison.directions} directions' |mean difference to {target}| / standard error;",
        f"  unbiased estimators have one above {comparison.limit:.1f} in one of {ONCE_IN} such tables (Bonferroni)",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in comparison.notes)])


class _Moments:
    """Means and variances of estimates [E, P], one rollout after the other; of what is in directions, every number."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())  # [E, P]
        self.squares: Tensor = torch.zeros(())  # [E], summed over P
        self.projected: list[Tensor] = []  # [E, D] each

    def take(self, estimates: Tensor, directions: Tensor) -> None:
        self.count += 1  # Welford's recurrence: R·P numbers of a large network are not kept
        difference = estimates - self.mean
        self.mean = self.mean + difference / self.count
        self.squares = self.squares + (difference * (estimates - self.mean)).sum(1)
        self.projected.append(estimates @ directions)

    def variances(self) -> list[float]:
        found: list[float] = (self.squares / (self.count - 1)).tolist()
        return found

    def scores(self, expected: Tensor | None) -> list[float | None]:
        """Return z of each estimator, against what is expected [D] or, pair by pair, against the first one."""
        projected = torch.stack(self.projected)  # [R, E, D]
        difference = projected - (projected[:, :1] if expected is None else expected)
        mean, error = difference.mean(0), difference.std(0) / math.sqrt(self.count)  # [E, D]
        scores = (mean.abs() / error).masked_fill(mean == 0, 0.0).amax(1)
        known = scores.isfinite().tolist()  # where all rollouts gave the same, no error tells how far that is off
        found = [float(score) if finite else None for score, finite in zip(scores, known, strict=True)]
        return found if expected is not None else [None, *found[1:]]


def _check(agent: PolicyGradient, rollouts: int) -> None:
    if rollouts < FEWEST:
        raise RecipeError([Problem("this value is refused", "--rollouts", str(rollouts), f"{FEWEST} or more")])
    if agent.environment.independent:
        message = "estimators are compared at one policy, and these environments are runs of their own"
        raise RecipeError(
            [Problem(message, "environment.independent", "true", "false, in a recipe", "environment.independent=false")]
        )
    if not policy_parameters(agent):
        raise RecipeError([Problem("there is no gradient", "policy", "no parameters", "a policy that has some")])


def _rollouts(agent: PolicyGradient, count: int, rollouts: int, seed: int, stream: str) -> Iterator[Rollout]:
    """Yield rollouts of whole episodes: functions of (seed, stream, their number), each with draws of its own."""
    collector = Collector(agent.environment.make(count), seed=key(seed, stream, 0), stream=stream)
    act: Callable[[Tensor, Tensor | None], Tensor] = partial(agent.act, greedy=False)
    try:
        for number in range(rollouts):
            rekey(seed, f"{stream}/act", number)
            with torch.no_grad():
                rollout = collector.collect_episodes(act, number, longest(agent.environment))
            yield rollout
    finally:
        collector.environment.close()


def _directions(mean: Tensor, seed: int) -> Tensor:
    """Return unit vectors [P, D]: ten random ones and, if it is one, that of the mean [P]."""
    generator = torch.Generator().manual_seed(key(seed, "fw variance/directions", 0))
    found = torch.randn(RANDOM_DIRECTIONS, len(mean), generator=generator, dtype=torch.float64)
    if float(mean.norm()) > 0:
        found = torch.cat([found, mean[None]])
    unit: Tensor = found / found.norm(dim=1, keepdim=True)
    return unit.T


def _estimators(names: list[str], variances: list[float], scores: list[float | None], rollouts: int) -> list[Estimator]:
    return [
        Estimator(
            name=name,
            variance=variance,
            ratio=variance / variances[0] if variances[0] > 0 else None,
            standard_error=math.sqrt(variance / rollouts),
            z=score,
        )
        for name, variance, score in zip(names, variances, scores, strict=True)
    ]


def _limit(comparisons: int) -> float:
    """Return the |z| that one of so many comparisons of what is unbiased is beyond once in a hundred times."""
    return NormalDist().inv_cdf(1 - 1 / ONCE_IN / 2 / comparisons)
