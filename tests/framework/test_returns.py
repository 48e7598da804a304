"""Returns and advantages against their direct sums, on random episodes that end in either way, and on gymnasium's.

Tolerances: float64 agrees to 1e-12, sums of a few dozen terms; float32 to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from framework import OptionError
from framework.returns import generalized_advantages, returns_to_go

T, B = 40, 5
TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}
each_discount = pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
each_trace = pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
each_dtype = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)


@dataclass(frozen=True)
class Rollout:
    rewards: Tensor
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor

    def ends(self) -> dict[str, Tensor]:
        """What both functions take by keyword."""
        names = ("next_values", "terminated", "truncated", "mask")
        return {name: getattr(self, name) for name in names}


def rollout(seed: int = 0, dtype: torch.dtype = torch.float64) -> Rollout:
    """Random episodes, with both ends at once in places; no step after half of the ends, and in a few other places."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(3, T, B, generator=generator, dtype=torch.float64).to(dtype)
    draws = torch.rand(3, T, B, generator=generator)
    terminated, truncated = draws[0] < 0.15, draws[1] < 0.15
    terminated[-1, 0] = truncated[-1, 1] = True
    ended = torch.cat([torch.zeros(1, B, dtype=torch.bool), (terminated | truncated)[:-1]])
    mask = draws[2] > torch.where(ended, 0.5, 0.05)
    terminated, truncated = terminated & mask, truncated & mask
    for found in (terminated & ~truncated, truncated & ~terminated, terminated & truncated, ~mask):
        assert found.sum() > 2
    return Rollout(*numbers, terminated, truncated, mask)


def episode(data: Rollout, t: int, b: int) -> range:
    """The steps from t to the end of its episode."""
    last = t
    ends = data.terminated | data.truncated
    while last < T - 1 and not ends[last, b] and data.mask[last + 1, b]:
        last += 1
    return range(t, last + 1)


def direct_returns(data: Rollout, discount: float) -> Tensor:
    """Every return by its own sum."""
    sums = torch.zeros(T, B, dtype=torch.float64)
    for t, b in data.mask.nonzero().tolist():
        steps = episode(data, t, b)
        total = sum(discount ** (k - t) * data.rewards[k, b].item() for k in steps)
        if not data.terminated[steps[-1], b]:
            total += discount ** len(steps) * data.next_values[steps[-1], b].item()
        sums[t, b] = total
    return sums


def direct_advantages(data: Rollout, discount: float, trace: float) -> Tensor:
    """Every advantage by its own sum of temporal-difference errors."""
    sums = torch.zeros(T, B, dtype=torch.float64)
    for t, b in data.mask.nonzero().tolist():
        for k in episode(data, t, b):
            after = 0.0 if data.terminated[k, b] else data.next_values[k, b].item()
            error = data.rewards[k, b].item() + discount * after - data.values[k, b].item()
            sums[t, b] += (discount * trace) ** (k - t) * error
    return sums


@each_dtype
@each_discount
@pytest.mark.parametrize("seed", range(3))
def test_returns_are_their_direct_sums(seed: int, discount: float, dtype: torch.dtype) -> None:
    data = rollout(seed, dtype)
    found = returns_to_go(data.rewards, discount=discount, **data.ends())
    assert found.dtype == dtype
    torch.testing.assert_close(found, direct_returns(data, discount).to(dtype), **TOLERANCE[dtype])


@each_dtype
@each_discount
@each_trace
def test_advantages_are_their_direct_sums(trace: float, discount: float, dtype: torch.dtype) -> None:
    data = rollout(3, dtype)
    found, targets = generalized_advantages(data.rewards, data.values, discount=discount, trace=trace, **data.ends())
    direct = direct_advantages(data, discount, trace)
    assert found.dtype == targets.dtype == dtype
    torch.testing.assert_close(found, direct.to(dtype), **TOLERANCE[dtype])
    expected = torch.where(data.mask, direct + data.values.double(), 0.0)
    torch.testing.assert_close(targets, expected.to(dtype), **TOLERANCE[dtype])


def with_next_values_of_values(data: Rollout) -> Rollout:
    """The same rollout under a value function of the state: V(s_{t+1}) is the next row's value in an episode."""
    ahead = torch.cat([data.values[1:], data.next_values[-1:]])
    ends = data.terminated | data.truncated
    return Rollout(
        data.rewards,
        data.values,
        torch.where(ends, data.next_values, ahead),
        data.terminated,
        data.truncated,
        data.mask,
    )


@each_discount
def test_trace_1_is_returns_minus_values_and_trace_0_the_temporal_difference_error(discount: float) -> None:
    data = with_next_values_of_values(rollout())
    whole, targets = generalized_advantages(data.rewards, data.values, discount=discount, trace=1.0, **data.ends())
    to_go = returns_to_go(data.rewards, discount=discount, **data.ends())
    torch.testing.assert_close(targets, to_go, **TOLERANCE[torch.float64])
    torch.testing.assert_close(whole, torch.where(data.mask, to_go - data.values, 0.0), **TOLERANCE[torch.float64])
    one_step, _ = generalized_advantages(data.rewards, data.values, discount=discount, trace=0.0, **data.ends())
    errors = data.rewards + discount * torch.where(data.terminated, 0.0, data.next_values) - data.values
    torch.testing.assert_close(one_step, torch.where(data.mask, errors, 0.0), **TOLERANCE[torch.float64])


def test_discount_0_leaves_the_reward() -> None:
    data = rollout()
    found = returns_to_go(data.rewards, discount=0.0, **data.ends())
    torch.testing.assert_close(found, torch.where(data.mask, data.rewards, 0.0), rtol=0, atol=0)


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not() -> None:
    never, first = torch.tensor([[False], [False]]), torch.tensor([[True], [False]])
    rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [0.25]])
    expected = {  # (terminated, truncated) -> G_0, A_0
        (True, False): (1.0, 0.5),
        (False, True): (1.0 + 0.5 * 10.0, 1.0 + 0.5 * 10.0 - 0.5),
        (True, True): (1.0, 0.5),
    }
    for (terminated, truncated), (to_go, advantage) in expected.items():
        ends = {
            "terminated": first if terminated else never,
            "truncated": first if truncated else never,
            "next_values": torch.tensor([[10.0], [20.0]]),
            "discount": 0.5,
        }
        assert returns_to_go(rewards, **ends).T.tolist() == [[to_go, 2.0 + 0.5 * 20.0]]
        advantages, _ = generalized_advantages(rewards, values, trace=1.0, **ends)
        assert advantages.T.tolist() == [[advantage, 2.0 + 0.5 * 20.0 - 0.25]]


def test_a_number_stands_for_every_next_value() -> None:
    data = rollout()
    ends = {**data.ends(), "next_values": torch.full((T, B), -3.0, dtype=torch.float64)}
    tensor = returns_to_go(data.rewards, discount=0.9, **ends)
    number = returns_to_go(data.rewards, discount=0.9, **{**ends, "next_values": -3.0})
    torch.testing.assert_close(number, tensor, rtol=0, atol=0)


def test_without_a_mask_every_step_counts() -> None:
    data = rollout()
    ends = {**data.ends(), "mask": torch.ones(T, B, dtype=torch.bool)}
    without = {name: ends[name] for name in ("next_values", "terminated", "truncated")}
    for function, arguments in [
        (returns_to_go, {"discount": 0.9}),
        (generalized_advantages, {"values": data.values, "discount": 0.9, "trace": 0.5}),
    ]:
        torch.testing.assert_close(
            function(data.rewards, **arguments, **without), function(data.rewards, **arguments, **ends), rtol=0, atol=0
        )


def test_what_stands_in_dummies_and_after_the_end_is_never_read() -> None:
    data = rollout()
    poisoned = Rollout(
        data.rewards.masked_fill(~data.mask, torch.nan),
        data.values.masked_fill(~data.mask, torch.nan),
        data.next_values.masked_fill(~data.mask | data.terminated, torch.nan),
        data.terminated,
        data.truncated,
        data.mask,
    )
    for discount in (0.0, 0.9):
        clean, found = (returns_to_go(one.rewards, discount=discount, **one.ends()) for one in (data, poisoned))
        torch.testing.assert_close(found, clean, rtol=0, atol=0)
        clean_pair, found_pair = (
            generalized_advantages(one.rewards, one.values, discount=discount, trace=0.9, **one.ends())
            for one in (data, poisoned)
        )
        torch.testing.assert_close(found_pair, clean_pair, rtol=0, atol=0)


def test_no_gradient_passes() -> None:
    data = rollout()
    values, next_values = data.values.requires_grad_(), data.next_values.requires_grad_()
    ends = {**data.ends(), "next_values": next_values}
    found = [
        returns_to_go(data.rewards, discount=0.9, **ends),
        *generalized_advantages(data.rewards, values, discount=0.9, trace=0.9, **ends),
    ]
    assert not any(tensor.requires_grad for tensor in found)


class Countdown(gymnasium.Env[np.ndarray, int]):
    """Counts 1, 2, … with the count as the reward; terminates at a limit that changes from episode to episode."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, limits: tuple[int, ...]) -> None:
        self.limits, self.episodes, self.count = limits, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.episodes, self.count = self.episodes + 1, 0
        return np.array([0.0]), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.count += 1
        limit = self.limits[(self.episodes - 1) % len(self.limits)]
        return np.array([float(self.count)]), float(self.count), self.count == limit, False, {}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_gymnasiums_two_ways_to_reset_give_each_episode_the_same_returns(mode: AutoresetMode) -> None:
    """The recipes of the module's docstring, on episodes of 3 terminated and of 4 truncated steps."""
    made = [lambda: gymnasium.wrappers.TimeLimit(Countdown((3, 9)), max_episode_steps=4) for _ in range(2)]
    environments = SyncVectorEnv(made, autoreset_mode=mode)
    columns: dict[str, list[Tensor]] = {name: [] for name in ("rewards", "terminated", "truncated", "mask", "final")}
    observations = [torch.as_tensor(environments.reset()[0])[:, 0]]
    dummy = torch.zeros(2, dtype=torch.bool)
    for _ in range(14):
        observation, reward, terminated, truncated, infos = environments.step(np.zeros(2, dtype=np.int64))
        ended = torch.as_tensor(terminated | truncated)
        final = torch.zeros(2, dtype=torch.float64)
        if mode == AutoresetMode.SAME_STEP and ended.any():
            final = torch.as_tensor(np.stack(list(infos["final_obs"])).astype(float))[:, 0]
        observations.append(torch.as_tensor(observation)[:, 0].clone())
        for name, row in zip(columns, (reward, terminated, truncated, ~dummy, final), strict=True):
            columns[name].append(torch.as_tensor(row))
        dummy = ended if mode == AutoresetMode.NEXT_STEP else torch.zeros_like(ended)
    environments.close()
    stacked = {name: torch.stack(rows) for name, rows in columns.items()}
    values = 100 * torch.stack(observations)  # [T + 1, B]: V(s) is a hundred times the count
    next_values = values[1:]
    if mode == AutoresetMode.SAME_STEP:
        next_values = torch.where(stacked["truncated"], 100 * stacked["final"], next_values)
    ends = {name: stacked[name] for name in ("terminated", "truncated", "mask")}
    found = returns_to_go(stacked["rewards"], next_values=next_values, discount=0.5, **ends)
    advantages, targets = generalized_advantages(
        stacked["rewards"], values[:-1], next_values=next_values, discount=0.5, trace=1.0, **ends
    )
    terminated_episode = [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3.0]
    rewarded = 4 + 0.5 * 400
    truncated_episode = [1 + 0.5 * (2 + 0.5 * (3 + 0.5 * rewarded)), 2 + 0.5 * (3 + 0.5 * rewarded), 3 + 0.5 * rewarded]
    for column in range(2):
        steps = stacked["mask"][:, column]
        expected = [*terminated_episode, *truncated_episode, rewarded, *terminated_episode]
        assert found[steps, column][:10].tolist() == expected
        torch.testing.assert_close(targets[:, column], found[:, column], **TOLERANCE[torch.float64])
        assert advantages[steps, column][:2].tolist() == [expected[0] - 0.0, expected[1] - 100.0]
        assert (found[~steps, column] == 0).all()


GOOD: dict[str, Any] = {
    "rewards": torch.zeros(3, 2),
    "values": torch.zeros(3, 2),
    "terminated": torch.zeros(3, 2, dtype=torch.bool),
    "truncated": torch.zeros(3, 2, dtype=torch.bool),
    "next_values": torch.zeros(3, 2),
    "mask": torch.ones(3, 2, dtype=torch.bool),
    "discount": 0.9,
    "trace": 0.9,
}
WRONG = [
    ("rewards", torch.zeros(3), "[T, B] of a floating-point type with a step or more, found [3] of torch.float32"),
    (
        "rewards",
        torch.zeros(0, 2),
        "[T, B] of a floating-point type with a step or more, found [0, 2] of torch.float32",
    ),
    (
        "rewards",
        torch.zeros(3, 2, dtype=torch.int64),
        "[T, B] of a floating-point type with a step or more, found [3, 2] of torch.int64",
    ),
    ("values", torch.zeros(4, 2), "the rewards' shape [3, 2], found [4, 2]"),
    ("next_values", torch.zeros(2), "the rewards' shape [3, 2], found [2]"),
    ("terminated", torch.zeros(3, 1, dtype=torch.bool), "the rewards' shape [3, 2], found [3, 1]"),
    ("terminated", torch.zeros(3, 2), "torch.bool, found torch.float32; write terminated.bool()"),
    ("truncated", torch.zeros(3, 2, dtype=torch.uint8), "torch.bool, found torch.uint8; write truncated.bool()"),
    ("mask", torch.zeros(3, 2), "torch.bool, found torch.float32; write mask.bool()"),
    ("mask", torch.zeros(2, 3, dtype=torch.bool), "the rewards' shape [3, 2], found [2, 3]"),
    ("discount", 1.01, "a number in [0, 1], found 1.01"),
    ("discount", float("nan"), "a number in [0, 1], found nan"),
    ("trace", -0.1, "a number in [0, 1], found -0.1"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_what_is_wrong_is_refused(name: str, value: object, message: str) -> None:
    arguments = {**GOOD, name: value}
    with pytest.raises(OptionError) as caught:
        generalized_advantages(**arguments)
    assert str(caught.value) == f"{name}: expected {message}"
    if name not in ("values", "trace"):
        with pytest.raises(OptionError) as caught:
            returns_to_go(**{key: arguments[key] for key in arguments if key not in ("values", "trace")})
        assert str(caught.value) == f"{name}: expected {message}"
