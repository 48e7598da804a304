from __future__ import annotations

import collections
import functools
import io
import itertools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from framework import Environment, OptionError, Rollout
from framework.collector import Collector
from framework.object_state import NotCapturable
from framework.randomness import key
from framework.tape import Act, allowed_by
from framework_plugins.wrappers.frame_stack import frame_stack
from framework_plugins.wrappers.time_aware import time_aware


def by_digits(observation: Tensor, allowed: Tensor | None) -> Tensor:
    """Of two actions, one that looks random and is a function of the observation."""
    flat = observation.reshape(len(observation), -1).double()
    return (flat * torch.linspace(1e3, 9e3, flat.shape[1], dtype=torch.float64)).sum(1).long() % 2


def through_the_corridor(observation: Tensor, allowed: Tensor | None) -> Tensor:
    return torch.tensor([1, 0, 1, 0])[observation]  # right, left (which is right), right


def always(action: float | int) -> Act:
    return lambda observation, allowed: torch.full((len(observation),), action)


def name_of(value: Any) -> str:
    """A case's name: its environment."""
    kept = ("id", "vectorization", "autoreset", "max_episode_steps")
    return "-".join(str(value[key]) for key in kept if key in value) if isinstance(value, dict) else ""


Transition = tuple[Any, ...]


def decisions(rollout: Rollout) -> list[list[Transition]]:
    """Each environment's decisions, one after the other: what counts, and nothing else."""
    final = dict(zip(map(tuple, rollout.end_rows.tolist()), rollout.end_observations, strict=True))
    found: list[list[Transition]] = [[] for _ in range(rollout.mask.shape[1])]
    for t, n in rollout.mask.nonzero().tolist():
        after = final.get((t, n), rollout.observation[t + 1, n])
        values = [rollout.observation[t, n], rollout.action[t, n], rollout.reward[t, n], rollout.terminated[t, n]]
        values += [rollout.truncated[t, n], rollout.time[t, n], after]
        values += [] if rollout.optimal is None else [rollout.optimal[t, n]]
        found[n].append(tuple(value.numpy().tobytes() for value in values))
    return found


def assert_the_same(one: Rollout, other: Rollout) -> None:
    for field in fields(Rollout):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        assert (mine is None) == (its is None), field.name
        if mine is not None:
            assert torch.equal(mine, its), field.name
            assert mine.dtype == its.dtype, field.name


MODES = ("next_step", "same_step")
CASES: list[tuple[dict[str, Any], Act]] = [
    ({"id": "CartPole-v1", "vectorization": "sync"}, by_digits),
    ({"id": "CartPole-v1", "vectorization": "sync", "max_episode_steps": 6}, by_digits),
    ({"id": "fw/ShortCorridor-v0", "kwargs": {"observe_state": True}}, through_the_corridor),
    ({"id": "fw/ShortCorridor-v0", "max_episode_steps": 20}, always(1)),
    ({"id": "fw/CartPolePixels-v0"}, by_digits),
    ({"id": "fw/CartPolePixels-v0", "vectorization": "sync"}, by_digits),
    ({"id": "fw/KArmedTestbed-v0", "max_episode_steps": 9, "kwargs": {"arms": 2, "drift": 0.3}}, always(1)),
    ({"id": "fw/KArmedTestbed-v0", "max_episode_steps": 9, "vectorization": "sync"}, always(3)),
]


@pytest.mark.parametrize(("options", "act"), CASES, ids=name_of)
def test_both_manners_of_autoreset_give_the_same_decisions(options: dict[str, Any], act: Act) -> None:
    made = []
    for mode in MODES:
        environment = Environment(num_envs=3, autoreset=mode, **options).make()
        collector = Collector(environment, seed=5, stream="train")
        parts = [decisions(collector.collect(act, steps)) for steps in (1, 13, 30, 56)]  # ends at their borders, too
        made.append(([[*itertools.chain(*rows)] for rows in zip(*parts, strict=True)], collector.drain()))
    (with_dummies, episodes), (without, others) = made
    ended = sum(transition[3] != b"\0" or transition[4] != b"\0" for rows in without for transition in rows)
    assert ended > 3
    for fewer, more in zip(with_dummies, without, strict=True):
        assert len(fewer) < len(more) == 100
        assert fewer == more[: len(fewer)]
    assert len(episodes) > 3
    # The same ones, by environment; which of two comes first depends on the dummies between them.
    assert not collections.Counter(episodes) - collections.Counter(others)


def one_by_one(name: str, seed: int, act: Act, steps: int) -> Iterator[tuple[Any, ...]]:
    """The decisions in a single environment, by a loop that knows of no vector: the truth."""
    environment = gymnasium.make(name)
    observation, time = environment.reset(seed=seed)[0], 0
    for _ in range(steps):
        action = act(torch.from_numpy(observation[None]), None)[0]
        after, reward, terminated, truncated, _ = environment.step(action.item())
        flags = np.bool_(terminated), np.bool_(truncated)
        values = (observation, action.numpy(), np.float32(reward), *flags, np.int64(time), after)
        yield tuple(value.tobytes() for value in values)
        observation, time = after, time + 1
        if terminated or truncated:
            observation, time = environment.reset()[0], 0


@pytest.mark.parametrize("mode", MODES)
def test_a_rollout_is_what_single_environments_do(mode: Any) -> None:
    environment = Environment(id="CartPole-v1", num_envs=3, vectorization="sync", autoreset=mode).make()
    found = decisions(Collector(environment, seed=1, stream="train").collect(by_digits, 200))
    for n, rows in enumerate(found):
        seed = key(1, f"train/{n}", 0) >> 32
        assert len(rows) > 150
        assert rows == list(one_by_one("CartPole-v1", seed, by_digits, len(rows)))


def test_the_parts_of_a_rollout() -> None:
    environment = Environment(id="fw/ShortCorridor-v0", num_envs=2, kwargs={"observe_state": True}).make()
    rollout = Collector(environment, seed=0, stream="train").collect(through_the_corridor, 6)
    no, yes = [False, False], [True, True]
    assert rollout.observation.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [0, 0], [1, 1], [2, 2]]
    assert rollout.terminated.tolist() == [no, no, yes, no, no, no]
    assert rollout.truncated.tolist() == [no] * 6
    assert rollout.mask.tolist() == [yes, yes, yes, no, yes, yes]
    assert rollout.time.tolist() == [[0, 0], [1, 1], [2, 2], [0, 0], [0, 0], [1, 1]]
    assert rollout.reward.tolist() == [[-1, -1]] * 3 + [[0, 0]] + [[-1, -1]] * 2
    assert (rollout.reward.dtype, rollout.time.dtype, rollout.observation.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )
    assert (rollout.action_mask, rollout.optimal) == (None, None)
    assert (tuple(rollout.end_rows.shape), tuple(rollout.end_observations.shape)) == ((0, 2), (0,))
    assert rollout.decisions == 10


def test_the_parts_of_a_rollout_under_same_step() -> None:
    options: dict[str, Any] = {"id": "fw/ShortCorridor-v0", "kwargs": {"observe_state": True}}
    environment = Environment(num_envs=2, autoreset="same_step", **options).make()
    rollout = Collector(environment, seed=0, stream="train").collect(through_the_corridor, 5)
    assert rollout.observation[:, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert rollout.time[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert rollout.mask.all()
    assert rollout.end_rows.tolist() == [[2, 0], [2, 1]]
    assert rollout.end_observations.tolist() == [3, 3]


def test_episodes_are_counted_across_rollouts() -> None:
    environment = Environment(id="CartPole-v1", num_envs=3, vectorization="sync").make()
    collector = Collector(environment, seed=1, stream="train")
    for _ in range(40):
        collector.collect(by_digits, 5)
    found = collector.drain()
    expected = []
    for n in range(3):
        time = 0
        for row in one_by_one("CartPole-v1", key(1, f"train/{n}", 0) >> 32, by_digits, 200):
            time += 1
            if row[3] != b"\0":
                expected.append((float(time), time))
                time = 0
    assert len(found) > 10
    assert not set(found) - set(expected)
    assert collector.drain() == []


def test_returns_are_summed_in_float64() -> None:
    environment = Environment(id="fw/KArmedTestbed-v0", num_envs=2, max_episode_steps=50).make()
    collector = Collector(environment, seed=2, stream="train")
    collector.collect(always(3), 60)
    again = Environment(id="fw/KArmedTestbed-v0", num_envs=2, max_episode_steps=50).make()
    again.reset(seed=key(2, "train", 0) >> 32)
    returns = sum(again.step(np.array([3, 3]))[1] for _ in range(50))
    assert collector.drain() == [(returns[0], 50), (returns[1], 50)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 25])
def test_one_whole_episode_in_each_environment(mode: Any, limit: int | None) -> None:
    environment = Environment(id="CartPole-v1", num_envs=8, vectorization="sync", autoreset=mode).make()
    collector = Collector(environment, seed=1, stream="evaluation")
    collector.collect(by_digits, 7)
    collector.drain()
    rollout = collector.collect_episodes(by_digits, 4, limit)
    lengths, cut = [], 0
    for n, rows in enumerate(decisions(rollout)):
        truth = list(one_by_one("CartPole-v1", key(1, f"evaluation/{n}", 4) >> 32, by_digits, 300))
        length = next(t for t, row in enumerate(truth) if row[3] != b"\0") + 1
        if limit is not None and length > limit:
            length, cut = limit, cut + 1
            truth[limit - 1] = (*truth[limit - 1][:4], b"\1", *truth[limit - 1][5:])  # truncated
        assert rows == truth[:length]
        lengths.append(length)
    assert len(set(lengths)) > 1
    assert len(rollout) == max(lengths)
    assert sorted(collector.drain()) == sorted((float(length), length) for length in lengths)
    assert rollout.mask.sum(0).tolist() == lengths
    for values in (rollout.reward, rollout.terminated, rollout.truncated, rollout.time):
        assert not values[~rollout.mask].any()
    assert (cut > 0) == (limit is not None)
    assert_the_same(rollout, collector.collect_episodes(by_digits, 4, limit))
    assert not torch.equal(collector.collect_episodes(by_digits, 5, limit).observation[0], rollout.observation[0])


@pytest.mark.parametrize("mode", MODES)
def test_whole_episodes_are_given_up_at_the_next_step_and_leave_nothing(mode: Any) -> None:
    environment = Environment(id="CartPole-v1", num_envs=3, vectorization="sync", autoreset=mode).make()
    collector = Collector(environment, seed=1, stream="train")
    expected = collector.collect_episodes(by_digits, 2)
    episodes = collector.drain()
    acted = []

    def act(observation: Tensor, allowed: Tensor | None) -> Tensor:
        acted.append(len(observation))
        return by_digits(observation, allowed)

    for steps in (0, 5, len(expected) - 1):
        acted.clear()
        assert collector.collect_episodes(act, 2, stopping=lambda steps=steps: len(acted) == steps) is None
        assert len(acted) == steps
        assert collector.drain() == []
    rollout = collector.collect_episodes(by_digits, 2, stopping=lambda: False)
    assert rollout is not None
    assert_the_same(rollout, expected)
    assert collector.drain() == episodes


@pytest.mark.parametrize("mode", MODES)
def test_a_long_episode_finds_room(mode: Any) -> None:
    options: dict[str, Any] = {"id": "fw/KArmedTestbed-v0", "max_episode_steps": 1000, "autoreset": mode}
    collector = Collector(Environment(num_envs=2, **options).make(), seed=0, stream="evaluation")
    rollout = collector.collect_episodes(always(0), 0)
    assert len(rollout) == 1000
    assert rollout.mask.all()
    assert rollout.time[:, 0].tolist() == list(range(1000))
    assert rollout.truncated.nonzero().tolist() == [[999, 0], [999, 1]]
    other = Collector(Environment(num_envs=2, **options).make(), seed=0, stream="evaluation").collect(always(0), 1000)
    assert torch.equal(rollout.reward, other.reward)
    assert rollout.optimal is not None
    assert other.optimal is not None
    assert torch.equal(rollout.optimal, other.optimal)


def test_environments_and_streams_begin_apart() -> None:
    def first(seed: int, stream: str) -> Tensor:
        environment = Environment(id="CartPole-v1", num_envs=4, vectorization="sync").make()
        return Collector(environment, seed=seed, stream=stream).collect(always(0), 1).observation[0]

    beginnings = torch.cat([first(0, "train"), first(1, "train"), first(0, "evaluation")])
    assert len(beginnings.unique(dim=0)) == 12
    assert torch.equal(first(0, "train"), beginnings[:4])


RESUMED: list[tuple[dict[str, Any], Act]] = [
    *CASES,
    *((dict(options, autoreset="same_step"), act) for options, act in CASES),
    ({"id": "CartPole-v1"}, by_digits),
    ({"id": "CartPole-v1", "wrappers": [functools.partial(frame_stack, size=2)]}, by_digits),
    ({"id": "Taxi-v3", "max_episode_steps": 20}, always(4)),
    ({"id": "Pendulum-v1", "max_episode_steps": 20}, lambda o, m: 3 * o[:, :1]),
]


@pytest.mark.parametrize(("options", "act"), RESUMED, ids=name_of)
def test_resuming_goes_on_bit_for_bit(options: dict[str, Any], act: Act) -> None:
    environment = Environment(num_envs=3, **options)
    unbroken = Collector(environment.make(), seed=3, stream="train")
    unbroken.collect(act, 27)
    file = io.BytesIO()
    torch.save(unbroken.state(), file)
    file.seek(0)
    resumed = Collector(environment.make(), seed=3, stream="train")
    resumed.restore(torch.load(file, weights_only=True))
    for _ in range(3):
        assert_the_same(unbroken.collect(act, 11), resumed.collect(act, 11))
    assert unbroken.episodes == resumed.episodes
    assert len(resumed.episodes) > 0


def test_a_collector_that_has_not_begun_has_a_state() -> None:
    environment = Environment(id="CartPole-v1", num_envs=2)
    one, other = (Collector(environment.make(), seed=3, stream="train") for _ in range(2))
    one.begin_anew(5)
    other.restore(one.state())
    assert_the_same(one.collect(by_digits, 9), other.collect(by_digits, 9))


def test_what_cannot_be_kept_begins_anew() -> None:
    environment = Environment(id="CartPole-v1", num_envs=2, vectorization="async").make()
    try:
        collector = Collector(environment, seed=3, stream="train")
        first = collector.collect(by_digits, 3)
        assert not collector.check_restorable()
        with pytest.raises(NotCapturable, match="the state of a AsyncVectorEnv is out of reach"):
            collector.state()
        collector.begin_anew(1)
        second = collector.collect(by_digits, 3)
        assert not torch.equal(first.observation[0], second.observation[0])
        collector.begin_anew(0)
        assert_the_same(first, collector.collect(by_digits, 3))
    finally:
        environment.close()


@pytest.mark.parametrize("options", [{"id": "CartPole-v1"}, {"id": "Pendulum-v1"}, {"id": "fw/ShortCorridor-v0"}])
def test_trying_whether_it_is_restorable_changes_nothing(options: dict[str, Any]) -> None:
    environment = Environment(num_envs=2, max_episode_steps=9, **options)
    act: Act = (lambda o, m: o[:, :1]) if options["id"] == "Pendulum-v1" else always(1)
    one, other = (Collector(environment.make(), seed=3, stream="train") for _ in range(2))
    for collector in (one, other):
        collector.collect(act, 5)
    assert one.check_restorable()
    assert_the_same(one.collect(act, 20), other.collect(act, 20))


class Witness(gymnasium.Env[Any, Any]):
    """Tells in its observation which action it was given; after its last step it allows nothing."""

    def __init__(self, space: gymnasium.Space[Any], masks: bool = False, length: int = 3) -> None:
        self.action_space, self.masks, self.length = space, masks, length
        self.observation_space = Box(-9, 9, space.shape or (1,), np.float64)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(self.observation_space.shape or ()), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.time += 1
        observation = np.broadcast_to(np.asarray(action, dtype=np.float64), self.observation_space.shape or ())
        return observation, 0.1, self.time == self.length, False, {"optimal": True, **self._info()}

    def _info(self) -> dict[str, Any]:
        allowed = np.array([self.time == 0, self.time == 1, self.time == 2], dtype=np.int8)
        return {"action_mask": allowed} if self.masks else {}


def witnesses(space: gymnasium.Space[Any], mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> Collector:
    environment = SyncVectorEnv([functools.partial(Witness, space, **options)] * 2, autoreset_mode=mode)
    return Collector(environment, seed=0, stream="train")


@pytest.mark.parametrize(
    ("space", "drawn", "given"),
    [
        (Box(-2, np.array([1, 3], dtype=np.float32)), [[-5.0, 5.0]] * 2, [-2.0, 3.0]),
        (Box(-2, 2, (2,), np.float64), [[0.1, 5.0]] * 2, [np.float32(0.1), 2.0]),
        (Discrete(3, start=-1), [0, 0], [-1.0]),
        (Discrete(3), [2, 2], [2.0]),
        (MultiBinary(2), [[0.0, 1.0]] * 2, [0.0, 1.0]),
    ],
)
def test_actions_are_made_fit_for_the_environments_and_kept_as_drawn(space: Any, drawn: Any, given: Any) -> None:
    action = torch.tensor(drawn)
    rollout = witnesses(space).collect(lambda observation, allowed: action, 1)
    assert torch.equal(rollout.action[0], action)
    assert rollout.action.dtype == action.dtype
    assert rollout.observation[1].tolist() == [given, given]


def test_a_graph_is_left_behind() -> None:
    weight = torch.ones(2, 1, requires_grad=True)
    rollout = witnesses(Box(-2, 2, (1,))).collect(lambda observation, allowed: weight * 0.5, 2)
    assert not rollout.action.requires_grad


def test_observations_in_float64_become_float32() -> None:
    environment = Environment(id="CartPole-v1", wrappers=[functools.partial(time_aware, normalize=False)])
    assert environment.observation_space.dtype == np.float64
    assert (
        Collector(environment.make(), seed=0, stream="train").collect(always(0), 2).observation.dtype == torch.float32
    )


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_actions_that_are_allowed_are_those_of_the_observation(mode: AutoresetMode) -> None:
    seen = []

    def act(observation: Tensor, allowed: Tensor | None) -> Tensor:
        assert allowed is not None
        assert allowed.any(dim=1).all()  # a policy could not draw from nothing
        seen.append(allowed.clone())
        return allowed.long().argmax(dim=1)

    collector = witnesses(Discrete(3), mode, masks=True)
    first_part, rollout = (collector.collect(act, steps) for steps in (1, 5))  # one goes on where the other stopped
    assert first_part.action_mask is not None
    first, second, third, every = [True, False, False], [False, True, False], [False, False, True], [True] * 3
    expected = {
        AutoresetMode.NEXT_STEP: [second, third, every, first, second, third],
        AutoresetMode.SAME_STEP: [second, third, first, second, third, first],
    }[mode]
    assert rollout.action_mask is not None
    assert rollout.action_mask[:, 0].tolist() == rollout.action_mask[:, 1].tolist() == expected
    assert first_part.action_mask[:, 0].tolist() == [first, second]
    assert torch.equal(torch.stack(seen[1:]), rollout.action_mask[:5])
    assert rollout.action[:2, 0].tolist() == [1, 2]


def test_nothing_is_told_of_what_comes_after_a_whole_episode() -> None:
    kinds = [functools.partial(Witness, Discrete(3), length=length) for length in (2, 5)]
    environment = SyncVectorEnv(kinds, autoreset_mode=AutoresetMode.SAME_STEP)
    rollout = Collector(environment, seed=0, stream="evaluation").collect_episodes(always(0), 0)
    assert rollout.end_rows.tolist() == [[1, 0], [4, 1]]  # and not the second episode's end, (3, 0)
    assert rollout.optimal is not None
    assert rollout.optimal.tolist() == [[True, True]] * 2 + [[False, True]] * 3


def test_masks_of_taxi_are_its_own() -> None:
    environment = Environment(id="Taxi-v3", num_envs=2).make()
    rollout = Collector(environment, seed=0, stream="train").collect(always(0), 4)
    assert rollout.action_mask is not None
    inner: Any = gymnasium.make("Taxi-v3").unwrapped
    for observation, allowed in zip(rollout.observation.flatten(), rollout.action_mask.flatten(0, 1), strict=True):
        assert allowed.tolist() == inner.action_mask(observation.item()).astype(bool).tolist()


def test_a_rollout_is_not_written_to_by_the_next() -> None:
    collector = Collector(Environment(id="CartPole-v1", num_envs=2).make(), seed=0, stream="train")
    first = collector.collect(by_digits, 8)
    kept = {field.name: getattr(first, field.name) for field in fields(Rollout)}
    kept = {name: None if value is None else value.clone() for name, value in kept.items()}
    collector.collect(by_digits, 8)
    assert_the_same(first, Rollout(**kept))


def test_environments_that_do_not_reset_are_refused() -> None:
    environment = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(OptionError) as caught:
        Collector(environment, seed=0, stream="train")
    assert str(caught.value) == "autoreset: expected next_step or same_step, found environments that do not reset"


def test_the_actions_allowed_after_a_true_last_observation_are_kept() -> None:
    kinds = [functools.partial(Witness, Discrete(3), masks=True, length=length) for length in (2, 3)]
    environment = SyncVectorEnv(kinds, autoreset_mode=AutoresetMode.SAME_STEP)
    rollout = Collector(environment, seed=0, stream="train").collect(lambda o, allowed: allowed.long().argmax(1), 3)
    assert rollout.end_rows.tolist() == [[1, 0], [2, 1]]
    assert rollout.end_action_masks is not None
    assert rollout.end_action_masks.tolist() == [[False, False, True], [True, True, True]]  # none: nothing is decided
    assert rollout.action_mask is not None
    assert rollout.action_mask[2, 0].tolist() == rollout.action_mask[3, 1].tolist() == [True, False, False]


class Tuples(Witness):
    """Has its masks as gymnasium's MultiDiscrete has them."""

    def _info(self) -> dict[str, Any]:
        return {"action_mask": (np.array([1, 0], dtype=np.int8), np.array([1, 1, self.time > 0], dtype=np.int8))}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_masks_of_several_numbers_stand_one_after_the_other(mode: AutoresetMode) -> None:
    environment = SyncVectorEnv([functools.partial(Tuples, MultiDiscrete([2, 3]))] * 2, autoreset_mode=mode)
    act: Act = lambda observation, allowed: torch.zeros(2, 2, dtype=torch.int64)  # noqa: E731
    rollout = Collector(environment, seed=0, stream="train").collect(act, 3)
    assert rollout.action_mask is not None
    first, later = [True, False, True, True, False], [True, False, True, True, True]
    last = first if mode is AutoresetMode.SAME_STEP else later
    assert rollout.action_mask[:, 0].tolist() == rollout.action_mask[:, 1].tolist() == [first, later, later, last]
    own_form = (np.array([[1, 0], [0, 1]]), np.array([[1, 1, 0], [0, 0, 1]]))
    found = allowed_by({"action_mask": own_form}, np.zeros(2, dtype=np.bool_), MultiDiscrete([2, 3]))
    assert found.astype(int).tolist() == [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1]]
    some = np.array([None, (np.array([1, 0]), np.array([1, 1, 0]))], dtype=object)
    known = {"action_mask": some, "_action_mask": np.array([False, True])}
    found = allowed_by(known, np.zeros(2, dtype=np.bool_), MultiDiscrete([2, 3]))
    assert found.astype(int).tolist() == [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("space", "choices"), [(Discrete(4), "4 entries, one for each choice in Discrete(4)"),
                           (MultiDiscrete([2, 3]), "5 entries, one for each choice in MultiDiscrete([2 3])")]
)  # fmt: skip
def test_a_mask_of_another_width_is_refused(space: Any, choices: str) -> None:
    with pytest.raises(OptionError) as caught:
        witnesses(space, masks=True).collect(always(0), 1)
    assert str(caught.value) == (
        f"environment.id: expected an environment whose info action_mask has {choices}, found one with 3"
    )


class Scored(Witness):
    """Uses the name `optimal` for a number."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *found, _ = super().step(action)
        return (*found, {"optimal": 0.5})  # type: ignore[return-value]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_optimal_is_a_truth_value_or_something_else(mode: AutoresetMode) -> None:
    environment = SyncVectorEnv([functools.partial(Scored, Discrete(3))] * 2, autoreset_mode=mode)
    assert Collector(environment, seed=0, stream="train").collect(always(0), 4).optimal is None
