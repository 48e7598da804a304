"""The policy-gradient learner's losses and gradients, against loops over single decisions in float64.

Legend: T time, N environments, S states, A actions, E ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from framework import Baseline, Divergence, Environment, Policy, Rollout, Trunk, Update
from framework.collector import Collector
from framework.dynamic_programming import policy_gradient
from framework.errors import IncompatibleParts
from framework.learner import Loss
from framework.learners.policy_gradient import PolicyGradient
from framework.markov import FiniteMDP
from framework.masked import over_runs
from framework.optimizer import Optimizer
from framework.randomness import Keys, rekey
from framework.schedule import Counters
from framework_plugins.baselines.leave_one_out import LeaveOneOut
from framework_plugins.baselines.time_dependent import TimeDependent
from framework_plugins.baselines.value import Value
from framework_plugins.divergences.kl import KL
from framework_plugins.policies.categorical import CategoricalPolicy
from framework_plugins.policies.gaussian import GaussianPolicy
from framework_plugins.policies.tabular_softmax import TabularSoftmax
from framework_plugins.schedules.ramp import Linear
from framework_plugins.trunks.mlp import MLPTrunk
from framework_plugins.updates.a2c import A2C
from framework_plugins.updates.ppo import PPO
from framework_plugins.updates.reinforce import Reinforce
from tests.framework.finite_processes import random_logits, random_process
from tests.framework.process_environment import registered

S, A, N = 4, 2, 3  # those of the corridor with its states told apart
DISCOUNT = 0.9
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}  # float64, some tens of terms


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return Optimizer(torch.optim.SGD(list(parameters), lr=0.1), 0.1)


def corridors(count: int = N, **options: Any) -> Environment:
    options = {"max_episode_steps": 20, "kwargs": {"observe_state": True}, **options}
    return Environment(id="fw/ShortCorridor-v0", num_envs=count, **options)


def made(
    update: Update, *, policy: Policy | None = None, environment: Environment | None = None, **options: Any
) -> Any:
    """A learner in float64, with a random table for a policy."""
    environment = environment or corridors()
    if policy is None:
        replicas = environment.num_envs if environment.independent else 1
        policy = TabularSoftmax(observation_space=Discrete(S), action_space=Discrete(A), replicas=replicas)
        policy.preferences.data = torch.randn(policy.preferences.shape, generator=torch.Generator().manual_seed(7))
    options = {"optimizer": sgd, "evaluation": None, "discount": DISCOUNT, **options}
    return PolicyGradient(environment=environment, policy=policy, update=update, **options).double()


def table(seed: int = 3, replicas: int = 1, **options: Any) -> Value:
    baseline = Value(observation_space=Discrete(S), replicas=replicas, **options)
    (values,) = baseline.parameters()
    values.data = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    return baseline


@dataclass(frozen=True)
class Decision:
    """One step of an episode, as a person would write it down; `after` is what it led to."""

    state: int
    action: int
    reward: float
    terminated: bool
    truncated: bool
    time: int
    after: int


Course = list[list[Decision]]  # of each environment, one decision after the other


def course(seed: int, length: int, count: int = N) -> Course:
    """What may happen: episodes of random lengths that terminate or are truncated."""
    generator = torch.Generator().manual_seed(seed)

    def below(bound: int) -> int:
        return int(torch.randint(bound, (), generator=generator))

    found: Course = []
    for _ in range(count):
        decisions: list[Decision] = []
        state, time = below(S), 0
        for _ in range(length):
            ending, after = below(7), below(S)
            reward = float(torch.randn((), generator=generator, dtype=torch.float64))
            ends = ending < 2
            decisions.append(Decision(state, below(A), reward, ending == 0, ending == 1, time, after))
            state, time = (below(S), 0) if ends else (after, time + 1)
        found.append(decisions)
    return found


def rollout(course: Course, *, same_step: bool) -> Rollout:
    """The rollout of as many rows that environments of one manner of autoreset make of it."""
    steps = len(course[0])
    shape = (steps, len(course))
    observation = torch.zeros(steps + 1, len(course), dtype=torch.int64)
    action, time = torch.zeros(2, *shape, dtype=torch.int64)
    reward = torch.zeros(shape, dtype=torch.float64)
    terminated, truncated = torch.zeros(2, *shape, dtype=torch.bool)
    mask = torch.ones(shape, dtype=torch.bool)
    ends = []
    for n, decisions in enumerate(course):
        coming, resting = iter(decisions), False
        for t in range(steps):
            if resting:  # the dummy: it ignores the action, and leads to the new episode's beginning
                mask[t, n], action[t, n], resting = False, 1, False
                continue
            decision = next(coming)
            observation[t, n], action[t, n], reward[t, n] = decision.state, decision.action, decision.reward
            terminated[t, n], truncated[t, n], time[t, n] = decision.terminated, decision.truncated, decision.time
            observation[t + 1, n] = decision.after
            if decision.terminated or decision.truncated:
                if same_step:
                    observation[t + 1, n] = 0 if t + 1 == steps else decisions[t + 1].state
                    ends.append((t, n, decision.after))
                else:
                    resting = True
    ends.sort()
    return Rollout(
        observation=observation,
        action=action,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        mask=mask,
        time=time,
        action_mask=None,
        optimal=None,
        end_rows=torch.tensor([end[:2] for end in ends], dtype=torch.int64).reshape(-1, 2),
        end_observations=torch.tensor([end[2] for end in ends], dtype=torch.int64),
        end_action_masks=None,
    )


def kept(course: Course, made: Rollout) -> Course:
    """The decisions that a rollout has room for: dummies take the place of some."""
    return [decisions[: int(made.mask[:, n].sum())] for n, decisions in enumerate(course)]


def whole(seed: int = 0) -> tuple[Course, Rollout]:
    """One terminated episode of each environment, of different lengths, padded."""
    lengths = (3, 1, 5)
    first = [
        [replace(one, terminated=t + 1 == length, truncated=False, time=t) for t, one in enumerate(decisions[:length])]
        for decisions, length in zip(course(seed, 5), lengths, strict=True)
    ]
    steps = max(lengths)
    padded = [decisions + [replace(decisions[-1], terminated=False)] * (steps - len(decisions)) for decisions in first]
    rows = rollout(padded, same_step=True)
    inside = torch.arange(steps)[:, None] < torch.tensor(lengths)
    none = torch.zeros(0, dtype=torch.int64)
    return first, replace(rows, mask=inside, end_rows=none.reshape(0, 2), end_observations=none)


@torch.no_grad()
def digest_of(learner: PolicyGradient, rows: Rollout) -> dict[str, Tensor]:
    """What is learned from a rollout, as training has it: without a graph."""
    return learner.digest(rows)


def losses(learner: PolicyGradient, digest: dict[str, Tensor], step: int = 0) -> list[Loss]:
    return list(learner.losses(digest, Counters(optimizer_steps=step), Keys(0, "train", step)))


def gradients(learner: PolicyGradient, digest: dict[str, Tensor], step: int = 0) -> dict[str, Tensor]:
    """The gradient of the sum of the losses, by parameter."""
    learner.zero_grad()
    torch.stack([loss.value for loss in losses(learner, digest, step) if loss.value is not None]).sum().backward()
    return {name: one.grad.clone() for name, one in learner.named_parameters() if one.grad is not None}


def log_policy(learner: PolicyGradient, replica: int = 0) -> Tensor:
    """log π, [S, A], of the table, with a graph."""
    preferences: Any = learner.policy.preferences
    found: Tensor = preferences[replica].log_softmax(-1)
    return found


def returns(decisions: list[Decision]) -> list[float]:
    """The discounted return from each decision to the end of its episode, or of what there is."""
    found = []
    for t in range(len(decisions)):
        total, factor = 0.0, 1.0
        for one in decisions[t:]:
            total += factor * one.reward
            factor *= DISCOUNT
            if one.terminated or one.truncated:
                break
        found.append(total)
    return found


def advantages(decisions: list[Decision], values: Tensor, trace: float) -> list[float]:
    """Σ_l (γλ)^l δ_{t+l} to the end of the episode, or of what there is."""
    v = values.tolist()
    errors = [
        one.reward + DISCOUNT * (0.0 if one.terminated else v[one.after]) - v[one.state] for one in decisions
    ]  # δ
    found = []
    for t in range(len(decisions)):
        total, factor = 0.0, 1.0
        for error, one in zip(errors[t:], decisions[t:], strict=True):
            total += factor * error
            factor *= DISCOUNT * trace
            if one.terminated or one.truncated:
                break
        found.append(total)
    return found


def assert_gradient(found: dict[str, Tensor], expected: Tensor, learner: PolicyGradient) -> None:
    """Compare with the gradient of a loss that was written down by hand."""
    names = list(found)
    parameters = dict(learner.named_parameters())
    by_hand = torch.autograd.grad(expected, [parameters[name] for name in names], allow_unused=True)
    assert any(one is not None and one.any() for one in by_hand)
    for name, one in zip(names, by_hand, strict=True):
        torch.testing.assert_close(found[name], torch.zeros_like(found[name]) if one is None else one, **EXACT)


# REINFORCE -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["episodes", "steps"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reinforce_sums_steps_and_averages_episodes_or_averages_steps(average: Any, weighted: bool) -> None:
    episodes, rows = whole()
    learner = made(Reinforce(average=average), discount_weighting=weighted)
    log_prob, total = log_policy(learner), torch.zeros((), dtype=torch.float64)
    for decisions in episodes:
        for one, value in zip(decisions, returns(decisions), strict=True):
            weight = DISCOUNT**one.time if weighted else 1.0
            total = total - weight * value * log_prob[one.state, one.action]
    expected = total / (len(episodes) if average == "episodes" else sum(map(len, episodes)))
    digest = digest_of(learner, rows)
    assert_gradient(gradients(learner, digest), expected, learner)
    torch.testing.assert_close(losses(learner, digest)[0].value, expected, **EXACT)


@pytest.mark.parametrize("update", [Reinforce(), Reinforce(average="steps"), A2C(), PPO(minibatches=1, clip=0.2)])
@pytest.mark.parametrize("same_step", [False, True])
def test_what_is_no_decision_contributes_nothing(update: Update, same_step: bool) -> None:
    rows = rollout(course(1, 12), same_step=same_step)
    if same_step:  # has no dummies: what is masked there is what comes after whole episodes
        rows = replace(rows, mask=torch.rand(rows.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.7)
    assert (~rows.mask).any()
    learner = made(update, baseline=table(), entropy=0.1)
    found = gradients(learner, digest_of(learner, rows))
    garbage = replace(
        rows,
        action=torch.where(rows.mask, rows.action, 1 - rows.action),
        reward=torch.where(rows.mask, rows.reward, 1e6),
        time=torch.where(rows.mask, rows.time, 999),
    )
    other = gradients(learner, digest_of(learner, garbage))
    assert found.keys() == other.keys() != set()
    for name, value in found.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("update", [A2C(steps=12), PPO(steps=12, minibatches=1), Reinforce(average="steps")])
def test_decisions_alone_give_what_the_whole_rollout_gives(update: Update) -> None:
    rows = rollout(course(1, 12), same_step=False)
    learner = made(update, baseline=table(), entropy=0.1)
    digest = digest_of(learner, rows)
    alone = {name: value[rows.mask] for name, value in digest.items() if name != "mask"}  # [M, ...]
    whole_loss, loss = losses(learner, digest)[0], losses(learner, alone)[0]
    torch.testing.assert_close(loss.value, whole_loss.value, **EXACT)
    assert loss.metrics.keys() == whole_loss.metrics.keys()
    for name, value in loss.metrics.items():
        torch.testing.assert_close(value, whole_loss.metrics[name], **EXACT)
    found, expected = gradients(learner, alone), gradients(learner, digest)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **EXACT)


def test_a_truncated_episode_counts_as_ended_without_a_value_function_and_the_reader_is_told() -> None:
    decisions = course(2, 12)
    rows = rollout(decisions, same_step=True)
    assert rows.truncated.any()
    learner = made(Reinforce())
    found = digest_of(learner, rows)["advantage"]
    expected = torch.tensor([returns(one) for one in decisions], dtype=torch.float64).T
    torch.testing.assert_close(found, expected, **EXACT)
    assert learner.notes == ("no value function: an episode that is truncated counts as ended",)


# Generalized advantages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("same_step", [False, True], ids=["next_step", "same_step"])
def test_advantages_go_on_with_the_value_of_the_true_last_observation(same_step: bool, trace: float) -> None:
    decisions = course(3, 25)
    rows = rollout(decisions, same_step=same_step)
    baseline = table()
    learner = made(A2C(steps=25), baseline=baseline, trace=trace)
    values = next(iter(baseline.parameters())).detach()[0]
    digest = digest_of(learner, rows)
    assert (rows.truncated & rows.mask).sum() > 3
    for n, mine in enumerate(kept(decisions, rows)):
        advantage = torch.tensor(advantages(mine, values, trace), dtype=torch.float64)
        inside = rows.mask[:, n]
        torch.testing.assert_close(digest["advantage"][inside, n], advantage, **EXACT)
        state = torch.tensor([one.state for one in mine])
        torch.testing.assert_close(digest["returns"][inside, n], advantage + values[state], **EXACT)


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
def test_advantages_of_a_real_environment_that_is_truncated(autoreset: Any) -> None:
    learner = made(
        A2C(steps=30),
        environment=corridors(2, max_episode_steps=4, autoreset=autoreset),
        baseline=table(),
        trace=0.8,
    )
    collector = Collector(learner.environment.make(), seed=0, stream="train")
    # From the start: right, then (switched) right to the first, so no episode terminates, and 1 and 0 are seen in turn.
    rows = collector.collect(lambda observation, allowed: torch.ones(2, dtype=torch.int64), 30)
    v = next(iter(learner.baseline.parameters())).detach()[0].tolist()
    states = [0, 1, 0, 1, 0]  # of a whole episode, the last is the true final one
    errors = [-1 + DISCOUNT * v[states[t + 1]] - v[states[t]] for t in range(4)]
    expected = [sum((DISCOUNT * 0.8) ** k * error for k, error in enumerate(errors[t:])) for t in range(4)]
    rows = replace(rows, reward=rows.reward.double())
    found = digest_of(learner, rows)["advantage"][:, 0][rows.mask[:, 0]]
    torch.testing.assert_close(found[:24], torch.tensor(expected * 6, dtype=torch.float64), **EXACT)


# What is added to the policy's loss ----------------------------------------------------------------------------------


def entropies(learner: PolicyGradient) -> Tensor:
    log_prob = log_policy(learner)
    return -(log_prob.exp() * log_prob).sum(-1)  # [S]


def test_the_entropy_is_weighed_by_its_schedule_and_counted_as_the_loss_is() -> None:
    episodes, rows = whole(4)
    without, learner = made(Reinforce()), made(Reinforce(), entropy=Linear(start=0.5, end=0.0, steps=10))
    digest = digest_of(learner, rows)
    of_states = entropies(learner)
    total = torch.stack([of_states[one.state] for decisions in episodes for one in decisions]).sum()
    for step, weight in ((0, 0.5), (5, 0.25), (10, 0.0)):
        plain = losses(without, digest_of(without, rows), step)[0].value
        (loss,) = losses(learner, digest, step)
        torch.testing.assert_close(loss.value, plain - weight * total / len(episodes), **EXACT)
        mean = total / sum(map(len, episodes))
        torch.testing.assert_close(loss.metrics["entropy"], mean.detach(), **EXACT)
    difference = gradients(learner, digest)["policy.preferences"] - gradients(without, digest)["policy.preferences"]
    (by_hand,) = torch.autograd.grad(-0.5 * total / len(episodes), [learner.policy.preferences])
    torch.testing.assert_close(difference, by_hand, **EXACT)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_baselines_loss_is_weighed_and_averaged_over_decisions(weight: float) -> None:
    decisions = course(5, 14)
    rows = rollout(decisions, same_step=False)
    baseline = table()
    learner = made(A2C(steps=14), baseline=baseline, trace=0.5, baseline_weight=weight)
    digest = digest_of(learner, rows)
    values = next(iter(baseline.parameters()))
    targets = [
        (one.state, advantage + float(values.detach()[0, one.state]))
        for mine in kept(decisions, rows)
        for one, advantage in zip(mine, advantages(mine, values.detach()[0], 0.5), strict=True)
    ]
    error = sum(0.5 * (values[0, state] - target) ** 2 for state, target in targets) / len(targets)
    found = gradients(learner, digest)
    (by_hand,) = torch.autograd.grad(weight * error, [values])
    torch.testing.assert_close(found["baseline.network.values"], by_hand, **EXACT)
    (loss,) = losses(learner, digest)
    torch.testing.assert_close(loss.metrics["value_loss"], error.detach(), **EXACT)
    assert loss.optimizer == "main"


class CountedTrunk(Trunk):
    """Two layers, which know how often they were asked, and by how many observations."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MLPTrunk(observation_space=Discrete(S), hidden=[6])
        self.features = self.body.features
        self.calls = 0

    def forward(self, observation: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.body(observation)
        return found


def with_trunk(**options: Any) -> Any:
    torch.manual_seed(0)
    trunk, features = CountedTrunk(), Box(-math.inf, math.inf, (6,))
    policy = CategoricalPolicy(observation_space=features, action_space=Discrete(A), head_scale=1.0)
    learner = made(A2C(steps=12), policy=policy, trunk=trunk, baseline=Value(observation_space=features), **options)
    return learner, trunk


def test_a_shared_trunk_runs_once_and_its_gradient_is_the_sum() -> None:
    rows = rollout(course(6, 12), same_step=True)
    learner, trunk = with_trunk(trace=0.9, baseline_weight=0.7)
    digest = digest_of(learner, rows)
    assert trunk.calls == 2, "once for the rollout's observations, once for those of the ends"
    trunk.calls = 0
    found = gradients(learner, digest)
    assert trunk.calls == 1

    def by_hand(policy: bool) -> Tensor:
        features = trunk.body(rows.observation[:-1])
        log_prob = learner.policy(features).log_prob(rows.action)
        values = learner.baseline.network(features)
        mean: Tensor = -(digest["advantage"] * log_prob).mean()
        return mean if policy else 0.7 * 0.5 * (values - digest["returns"]).square().mean()

    parameters = list(trunk.parameters())
    parts = [torch.autograd.grad(by_hand(which), parameters) for which in (True, False)]
    for (name, _), one, other in zip(trunk.named_parameters(), *parts, strict=True):
        assert one.any()
        assert other.any()
        torch.testing.assert_close(found[f"trunk.{name}"], one + other, **EXACT)


def test_a_baseline_with_an_optimiser_of_its_own_has_a_loss_of_its_own() -> None:
    rows = rollout(course(7, 10), same_step=True)
    learner = made(A2C(steps=10), baseline=table(), baseline_optimizer=sgd, baseline_weight=0.5)
    optimizers = learner.optimizers()
    held = {
        name: {id(one) for group in optimizer.algorithm.param_groups for one in group["params"]}
        for name, optimizer in optimizers.items()
    }
    assert held == {
        "main": {id(learner.policy.preferences)},
        "baseline": {id(one) for one in learner.baseline.parameters()},
    }
    digest = digest_of(learner, rows)
    policy, baseline = losses(learner, digest)
    assert (policy.optimizer, baseline.optimizer) == ("main", "baseline")
    together = gradients(learner, digest)
    learner.zero_grad()
    policy, baseline = losses(learner, digest)
    policy.value.backward()
    assert all(one.grad is None for one in learner.baseline.parameters())
    assert torch.equal(learner.policy.preferences.grad, together["policy.preferences"])
    baseline.value.backward()
    assert torch.equal(learner.policy.preferences.grad, together["policy.preferences"])
    assert torch.equal(next(iter(learner.baseline.parameters())).grad, together["baseline.network.values"])
    assert set(baseline.metrics) == {"entropy", "value_loss"}


def test_the_advantages_of_each_minibatch_are_standardised() -> None:
    rows = rollout(course(8, 16), same_step=False)
    learner = made(PPO(steps=16, minibatches=2), baseline=table())
    digest = digest_of(learner, rows)
    chosen = rows.mask.flatten().nonzero()[3:20, 0]  # a minibatch [M]
    part = {name: value.flatten(0, 1)[chosen] for name, value in digest.items()}
    advantage = part["advantage"]
    standard = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    by_hand = -(standard * log_policy(learner)[part["observation"], part["action"]]).mean()  # r = 1 in the first pass
    found = gradients(learner, part)
    (expected,) = torch.autograd.grad(by_hand, [learner.policy.preferences])
    torch.testing.assert_close(found["policy.preferences"], expected, **EXACT)
    alone = {name: value[:1] for name, value in part.items()}
    assert not gradients(learner, alone)["policy.preferences"].any(), "one advantage alone becomes 0"


# Runs of their own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
@pytest.mark.parametrize(
    ("update", "with_values"),
    [
        (Reinforce(), False),
        (Reinforce(average="steps"), False),
        (Reinforce(average="steps"), True),
        (A2C(steps=20), True),
        (PPO(steps=20, passes=1, minibatches=1, normalize_advantages=False), True),
    ],
    ids=["reinforce", "reinforce_steps", "reinforce_values", "a2c", "ppo"],
)
def test_each_run_learns_from_its_own_environment_as_if_it_were_alone(
    autoreset: Any, update: Update, with_values: bool
) -> None:
    rows = rollout(course(9, 20), same_step=autoreset == "same_step")
    assert len(set(rows.mask.sum(0).tolist())) > 1 or autoreset == "same_step", "their lengths differ"

    def with_runs(replicas: int) -> PolicyGradient:
        environment = corridors(replicas, autoreset=autoreset, independent=replicas > 1)
        baseline = table(replicas=replicas) if with_values else None
        learner: PolicyGradient = made(update, environment=environment, baseline=baseline, entropy=0.1)
        return learner

    all_of_them, alone = with_runs(N), with_runs(1)
    together = gradients(all_of_them, digest_of(all_of_them, rows))
    for n in range(N):
        ends = rows.end_rows[:, 1] == n
        column = {
            name: value[:, n : n + 1]
            for name, value in vars(rows).items()
            if isinstance(value, Tensor) and not name.startswith("end_")
        }
        end_rows = rows.end_rows[ends].clone()
        end_rows[:, 1] = 0
        own = replace(rows, **column, end_rows=end_rows, end_observations=rows.end_observations[ends])
        alone.load_state_dict({name: value[n : n + 1] for name, value in all_of_them.state_dict().items()})
        found = gradients(alone, digest_of(alone, own))
        assert found.keys() == together.keys()
        for name, value in found.items():
            assert value.any()
            torch.testing.assert_close(together[name][n : n + 1], value, **EXACT)


# The policy that acted -----------------------------------------------------------------------------------------------


def test_the_penalty_is_the_plugins_divergence_from_the_policy_that_acted() -> None:
    decisions = course(10, 12)
    rows = rollout(decisions, same_step=False)
    seen: list[tuple[Any, Any]] = []

    class Watched(KL):
        def forward(self, q: Any, p: Any, z: Tensor) -> Tensor:
            seen.append((q, p))
            return super().forward(q, p, z)

    update = PPO(steps=12, minibatches=1, clip=None, penalty=Watched(), penalty_weight=3.0, normalize_advantages=False)
    learner = made(update, baseline=table(), baseline_weight=0.0)
    assert not any(one.requires_grad for one in learner.acting.parameters())
    digest = digest_of(learner, rows)
    before = log_policy(learner).detach().clone()
    generator = torch.Generator().manual_seed(11)
    for _ in range(2):  # as after some steps: the policy moves, and the one that acted does not
        learner.policy.preferences.data += torch.randn(1, S, A, generator=generator)
        now = log_policy(learner)
        kl = (before.exp() * (before - now)).sum(-1)  # KL(π_acting‖π), [S]
        terms = [
            3.0 * kl[one.state] - advantage * (now[one.state, one.action] - before[one.state, one.action]).exp()
            for mine in kept(decisions, rows)
            for one, advantage in zip(
                mine, advantages(mine, next(iter(learner.baseline.parameters())).detach()[0], 1.0), strict=True
            )
        ]
        expected = torch.stack(terms).mean()
        (loss,) = losses(learner, digest)
        torch.testing.assert_close(loss.value, expected, **EXACT)
        assert_gradient(gradients(learner, digest), expected, learner)
        mean = torch.stack([kl[one.state] for mine in kept(decisions, rows) for one in mine]).mean()
        torch.testing.assert_close(loss.metrics["penalty"], mean.detach(), **EXACT)
    q, p = seen[-1]
    torch.testing.assert_close(q.logits, before[rows.observation[:-1]], **EXACT)
    assert not q.logits.requires_grad
    assert p.logits.requires_grad
    digest_of(learner, rows)  # another rollout: now it is this policy that acted
    assert torch.equal(learner.acting[0].preferences, learner.policy.preferences)


def test_the_recipes_kl_is_the_divergence_of_the_latent_models(tmp_path: Any) -> None:
    from tests.framework.agent_runs import RECIPES, prepared

    penalty: Divergence = prepared(tmp_path, RECIPES["ppo"]).built.learner.update.penalty
    assert type(penalty) is KL


def test_several_steps_are_taken_from_the_same_actions() -> None:
    decisions = course(12, 12)
    rows = rollout(decisions, same_step=True)
    learner = made(PPO(steps=12, minibatches=1, clip=0.2, normalize_advantages=False), baseline=table())
    digest = digest_of(learner, rows)
    before = log_policy(learner).detach().clone()
    learner.policy.preferences.data[:, :, 0] += 0.5
    now = log_policy(learner)
    values = next(iter(learner.baseline.parameters())).detach()[0]
    terms = []
    for mine in decisions:
        for one, advantage in zip(mine, advantages(mine, values, 1.0), strict=True):
            ratio = (now[one.state, one.action] - before[one.state, one.action]).exp()
            terms.append(-torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage))
    expected = torch.stack(terms).mean()
    found = gradients(learner, digest)["policy.preferences"]
    (by_hand,) = torch.autograd.grad(expected, [learner.policy.preferences])
    torch.testing.assert_close(found, by_hand, **EXACT)


# Action masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [None, KL()])
def test_masks_reach_the_policy_and_all_losses(penalty: Divergence | None) -> None:
    rows = rollout(course(13, 10), same_step=True)
    only_zero = rows.observation == 2  # action 1 is not allowed in state 2
    allowed = torch.stack([torch.ones_like(only_zero), ~only_zero], -1)
    rows = replace(rows, action=torch.where(only_zero[:-1], 0, rows.action), action_mask=allowed)
    update = PPO(steps=10, minibatches=1, clip=0.2, normalize_advantages=False, penalty=penalty)
    learner = made(update, baseline=table(), baseline_weight=0.0, entropy=0.3)
    digest = digest_of(learner, rows)
    log_prob = log_policy(learner).clone()
    log_prob[2] = torch.tensor([0.0, -math.inf])
    acting = log_prob[rows.observation[:-1], rows.action]
    torch.testing.assert_close(digest["acting_log_prob"], acting.detach(), **EXACT)
    probability = log_prob.exp()
    entropy = -(probability * log_prob.masked_fill(probability == 0, 0.0)).sum(-1)[rows.observation[:-1]]
    expected = -(digest["advantage"] * (acting - acting.detach()).exp() + 0.3 * entropy).mean()
    found = gradients(learner, digest)
    assert_gradient({"policy.preferences": found["policy.preferences"]}, expected, learner)
    assert found["policy.preferences"].isfinite().all()
    assert not found["policy.preferences"][0, 2].any()
    drawn = learner.explore(torch.full((200,), 2), torch.tensor([[True, False]]).expand(200, 2))
    assert not drawn.any()
    assert not learner.act(torch.tensor([2]), torch.tensor([[True, False]]), greedy=True).any()


def test_an_environments_masks_are_obeyed() -> None:
    environment = Environment(id="Taxi-v3", num_envs=4)
    policy = TabularSoftmax(observation_space=environment.observation_space, action_space=environment.action_space)
    learner = PolicyGradient(
        environment=environment, policy=policy, baseline=Value(observation_space=environment.observation_space),
        update=A2C(steps=40), optimizer=sgd, evaluation=None, discount=DISCOUNT, entropy=0.1,
    )  # fmt: skip
    rows = Collector(environment.make(), seed=0, stream="train").collect(learner.explore, 40)
    assert rows.action_mask is not None
    assert not rows.action_mask[:-1].all()
    assert rows.action_mask[:-1].gather(-1, rows.action[..., None]).all()
    found = gradients(learner, digest_of(learner, rows))
    assert found["policy.preferences"].isfinite().all()


# The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[FiniteMDP, Tensor, str]]:
    mdp = random_process(0, states=3, actions=2, discount=0.5, ends=0.3)
    with registered(mdp) as name:
        yield mdp, random_logits(0, mdp), name


BASELINES: dict[str, Callable[[], Baseline | None]] = {
    "none": lambda: None,
    "time_dependent": lambda: TimeDependent(steps=3),
    "leave_one_out": LeaveOneOut,
    "value": lambda: Value(observation_space=Discrete(3), initial=0.7),
}
ROLLOUTS, EPISODES = 400, 10


def estimates(process: tuple[FiniteMDP, Tensor, str], baseline: str, weighted: bool) -> Tensor:
    """The learner's gradients of many rollouts of its own, [rollouts, S, A]."""
    mdp, logits, name = process
    environment = Environment(id=name, num_envs=EPISODES)
    policy = TabularSoftmax(observation_space=Discrete(3), action_space=Discrete(2))
    policy.preferences.data = logits[None].clone()
    learner = made(
        Reinforce(), policy=policy, environment=environment, baseline=BASELINES[baseline](),
        discount=mdp.discount, discount_weighting=weighted,
        **({"baseline_weight": 0.0} if baseline == "value" else {}),
    )  # fmt: skip
    collector = Collector(environment.make(), seed=1, stream="train")
    found = []
    for number in range(ROLLOUTS):
        rekey(1, "act", number)
        digest = digest_of(learner, collector.collect_episodes(learner.explore, number))
        found.append(-gradients(learner, digest)["policy.preferences"][0])
        learner.finish(digest, {})
    return torch.stack(found).double()


def scores(found: Tensor, expected: Tensor) -> Tensor:
    """How many standard errors the mean is off."""
    return (found.mean(0) - expected) / (found.std(0) / len(found) ** 0.5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_what_is_learned_from_many_rollouts_is_the_exact_gradient(
    process: tuple[FiniteMDP, Tensor, str], baseline: str
) -> None:
    mdp, logits, _ = process
    assert scores(estimates(process, baseline, weighted=True), policy_gradient(mdp, logits)).abs().max() < 4


def test_a_gradient_that_leaves_the_discount_of_states_out_is_noticed(process: tuple[FiniteMDP, Tensor, str]) -> None:
    mdp, logits, _ = process
    found = estimates(process, "value", weighted=False)
    assert scores(found, policy_gradient(mdp, logits)).abs().max() > 4


def test_observations_are_standardised_by_earlier_rollouts_and_rewards_by_this_one_too() -> None:
    torch.manual_seed(0)
    environment = Environment(id="CartPole-v1", num_envs=2, normalize_observation=True, normalize_reward=True)
    policy = CategoricalPolicy(observation_space=environment.observation_space, action_space=Discrete(2))
    learner = PolicyGradient(
        environment=environment, policy=policy, baseline=Value(observation_space=environment.observation_space),
        update=A2C(steps=20), optimizer=sgd, evaluation=None, discount=1.0,
    )  # fmt: skip
    collector = Collector(environment.make(), seed=0, stream="train")
    assert learner.observations is not None
    assert learner.rewards is not None
    first = collector.collect(learner.explore, 20)
    digest = digest_of(learner, first)
    # The running return is the number of steps of the episode so far.
    running = (first.time + 1)[first.mask].double()
    torch.testing.assert_close(learner.rewards.moments(), (running.var(correction=0) + 1e-8).sqrt())
    assert learner.observations.moments.count == 0
    learner.finish(digest, {})
    assert learner.rewards.moments.count == first.decisions, "once"
    seen = first.observation[:-1][first.mask].double()  # the last is the next rollout's first
    torch.testing.assert_close(learner.observations.moments.mean, seen.mean(0))
    assert learner.observations.moments.count == first.decisions
    second = collector.collect(learner.explore, 20)
    whitened = (second.observation[:-1].double() - seen.mean(0)) / (seen.var(0, correction=0) + 1e-8).sqrt()
    expected = policy(whitened.clamp(-10, 10).float()).log_prob(second.action)
    torch.testing.assert_close(digest_of(learner, second)["acting_log_prob"], expected.detach(), rtol=1e-5, atol=1e-6)


# Parts that do not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["policy", "baseline", "trunk"])
def test_one_set_of_weights_is_not_for_several_runs_whatever_its_shape(part: str) -> None:
    environment = corridors(2, independent=True)
    features = Box(-math.inf, math.inf, (6,))
    options: dict[str, Any] = {}
    if part == "policy":  # its weights are [2, 4]: of two actions, not of two runs
        options["policy"] = CategoricalPolicy(observation_space=Discrete(S), action_space=Discrete(A))
    elif part == "baseline":  # compares the runs with each other
        options["baseline"] = LeaveOneOut()
    else:
        options = {"trunk": CountedTrunk(), "baseline": Value(observation_space=features)}
    with pytest.raises(IncompatibleParts) as error:
        made(Reinforce(), environment=environment, **options)
    assert part in [misfit.option for misfit in error.value.misfits]
    assert str(error.value.misfits[0]).endswith(
        "expected one for each, as tabular_softmax and tables of values have, or independent: false, found 1 set of "
        "weights or averages for 2 environments, each a run of its own"
    )


def test_there_are_not_more_minibatches_than_steps() -> None:
    with pytest.raises(IncompatibleParts, match=r"minibatches: expected 6 or fewer: a rollout has so"):
        made(PPO(steps=2, minibatches=7), baseline=table())
    made(PPO(steps=2, minibatches=6), baseline=table())


def test_parts_that_do_not_fit_are_named_all_at_once() -> None:
    with pytest.raises(IncompatibleParts) as error:
        made(A2C(), trace=0.5, discount=1.5, baseline_optimizer=sgd)
    assert [misfit.option for misfit in error.value.misfits] == [
        "discount",
        "trace",
        "update.steps",
        "baseline_optimizer",
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_it_explores_by_the_policys_sampler_unless_more_is_to_be_said(shared: bool) -> None:
    environment = Environment(id="CartPole-v1", num_envs=500)
    space = environment.observation_space
    trunk = MLPTrunk(observation_space=space, hidden=[8])
    seen = Box(-1.0, 1.0, (8,)) if shared else space
    policy = CategoricalPolicy(
        observation_space=seen, action_space=Discrete(2), trunk=None if shared else trunk, head_scale=1.0
    )
    learner = PolicyGradient(
        environment=environment, trunk=trunk if shared else None, policy=policy, update=Reinforce(), optimizer=sgd,
        evaluation=None, discount=1.0,
    )  # fmt: skip
    sampler, explore = policy.sampler(), learner.explorer()
    assert sampler is not None
    observation = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    draws = [learner.explore] if shared else [lambda observation, _: sampler(observation)]
    found = []
    for draw in (*draws, explore):
        torch.manual_seed(1)
        found.append(draw(observation, None))
    assert torch.equal(*found)
    probability = learner.policy(learner._features(observation)).probs[:, 1].detach().double()
    deviation = (probability * (1 - probability)).sum().sqrt()
    assert (found[0].sum() - probability.sum()).abs() < 4 * deviation
    only_zero = torch.tensor([[True, False]]).expand(500, 2)
    assert not explore(observation, only_zero).any()


def test_the_entropy_of_a_squashed_gaussian_is_learned_from() -> None:
    # One step, no reward: the loss is minus the entropy. With u ~ N(0, σ²) and a = tanh u in (−1, 1),
    # H = log σ + ½ log 2πe + E log(1 − a²), and ∂H/∂log σ = 1 − 2 E[a·u].
    box = Box(-1.0, 1.0, (1,))
    environment = Environment(id="Pendulum-v1")
    policy = GaussianPolicy(observation_space=environment.observation_space, action_space=box, squash=True)
    learner = PolicyGradient(
        environment=environment, policy=policy, update=Reinforce(), optimizer=sgd, evaluation=None, discount=0.0,
        entropy=1.0,
    )  # fmt: skip
    torch.nn.init.zeros_(policy.head.linear.weight)
    rows = 200_000
    batch = {
        "observation": torch.zeros(rows, 1, 3),
        "action": torch.zeros(rows, 1, 1),
        "acting_log_prob": torch.zeros(rows, 1),
        "advantage": torch.zeros(rows, 1),
        "weight": torch.ones(rows, 1),
        "mask": torch.ones(rows, 1, dtype=torch.bool),
    }
    (loss,) = learner.losses(batch, Counters(), Keys(0, "train", 0))
    assert loss.value is not None
    loss.value.backward()
    u = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    density = torch.exp(-u.square() / 2) / (2 * torch.pi) ** 0.5
    expected = 1 - 2 * torch.trapezoid(density * u.tanh() * u, u)
    # Summed over the episode's steps; the standard error of the mean of 200,000 samples is about 0.003.
    assert policy.log_sigma.grad is not None
    torch.testing.assert_close(-policy.log_sigma.grad.double() / rows, expected[None], rtol=0, atol=0.015)


def test_means_over_runs_are_of_those_that_decide() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 6, generator=generator) < 0.5
    mask[:, 2] = False
    for steps in (4, 1):
        of_runs = [values[:steps, n][mask[:steps, n]].mean() for n in range(6) if mask[:steps, n].any()]
        assert 1 < len(of_runs) < 6
        means = torch.stack(of_runs)
        found = over_runs("reward", values[:steps] * mask[:steps], mask[:steps])
        torch.testing.assert_close(found["reward"], means.mean(), **EXACT)
        torch.testing.assert_close(found["reward_standard_error"], means.std() / len(means) ** 0.5, **EXACT)
    every = over_runs("reward", values, torch.ones_like(mask))
    torch.testing.assert_close(every["reward_standard_error"], values.mean(0).std() / 6**0.5, **EXACT)
    alone = over_runs("reward", values[:1], torch.arange(6)[None] == 3)
    assert alone == {"reward": values[0, 3], "reward_standard_error": 0.0}
    assert over_runs("reward", values[:, :1], mask[:, :1]).keys() == {"reward"}


def test_the_scale_of_rewards_forgets_episodes_that_are_gone() -> None:
    learner = made(A2C(steps=5), environment=corridors(normalize_reward=True), baseline=table())
    digest_of(learner, rollout(course(0, 5), same_step=True))
    returns, deviation = learner.rewards.returns, learner.rewards.moments().clone()
    assert returns.any()
    learner.begin_anew()
    assert not returns.any()
    assert learner.rewards.moments() == deviation
    made(A2C(steps=5), baseline=table()).begin_anew()
