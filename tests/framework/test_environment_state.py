from __future__ import annotations

import functools
import importlib.util
import io
import types
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from framework import Environment
from framework.environment_state import are_equal, capture, forgets, is_restorable, restore
from framework.object_state import NotCapturable
from framework_plugins.wrappers.frame_stack import frame_stack
from framework_plugins.wrappers.sticky import sticky

LIMIT = {"max_episode_steps": 30}
ENVIRONMENTS: list[dict[str, Any]] = [
    {"id": "CartPole-v1"},
    {"id": "CartPole-v1", "vectorization": "sync"},
    {"id": "CartPole-v1", "autoreset": "same_step"},
    {"id": "CartPole-v1", "wrappers": [functools.partial(frame_stack, size=3)]},
    {"id": "CartPole-v1", "wrappers": [functools.partial(sticky, probability=0.5)]},
    {"id": "Acrobot-v1", **LIMIT},
    {"id": "MountainCar-v0"},
    {"id": "Pendulum-v1"},
    {"id": "FrozenLake-v1"},
    {"id": "Taxi-v3", **LIMIT},
    {"id": "CliffWalking-v1", **LIMIT},
    {"id": "fw/ShortCorridor-v0", **LIMIT},
    {"id": "fw/KArmedTestbed-v0", "kwargs": {"drift": 0.1}, **LIMIT},
    {"id": "fw/KArmedTestbed-v0", "vectorization": "sync", **LIMIT},
    {"id": "fw/CartPolePixels-v0"},
    {"id": "fw/CartPolePixels-v0", "vectorization": "sync", "autoreset": "same_step"},
]


def name_of(options: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in options.items() if key not in ("kwargs", "max_episode_steps"))


class Hidden(gymnasium.Env[Any, Any]):
    """An environment whose state no attribute holds, but a function."""

    observation_space, action_space = Discrete(1000), Discrete(2)

    def __init__(self) -> None:
        def count(held: list[int] = []) -> int:  # noqa: B006 - what is tested
            held.append(0)
            return len(held) % 1000

        self.count = count

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: Any) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        return np.int64(self.count()), 0.0, False, False, {}


class Lazy(Hidden):
    """An environment that makes what it needs when it is first reset."""

    def __init__(self) -> None:
        self.inner: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.int64, dict[str, Any]]:
        self.inner = self.inner or types.SimpleNamespace(time=0)
        return super().reset(seed=seed)

    def count(self) -> int:
        self.inner.time += 1
        return int(self.inner.time)


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("options", ENVIRONMENTS, ids=name_of)
def test_environments_can_be_restored(options: dict[str, Any]) -> None:
    assert is_restorable(Environment(num_envs=3, **options).make)


@pytest.mark.parametrize("options", ENVIRONMENTS, ids=name_of)
def test_environments_forget_what_was_before_a_reset_with_a_seed(options: dict[str, Any]) -> None:
    assert forgets(Environment(num_envs=2, **options).make)


class Harder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Each episode pays more than the one before; from some episode on."""

    def __init__(self, environment: gymnasium.Env[Any, Any], after: int) -> None:
        super().__init__(environment)
        self.level = -after

    def reset(self, **options: Any) -> Any:
        self.level += 1
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, float(reward) * max(self.level, 1), *rest


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
def test_what_counts_its_episodes_does_not_forget(after: int, autoreset: Any) -> None:
    wrappers: Any = [functools.partial(Harder, after=after)]
    environment = Environment(id="CartPole-v1", num_envs=2, wrappers=wrappers, autoreset=autoreset)
    assert not forgets(environment.make)
    assert is_restorable(environment.make), "it can be captured, but whole episodes capture nothing"


def test_what_is_slow_is_tried_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Slow(gymnasium.Env[Any, Any]):
        observation_space, action_space = Discrete(2), Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.int64, dict[str, Any]]:
            clock[0] += 0.1
            return np.int64(0), {}

        def step(self, action: Any) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
            clock[0] += 0.1
            taken.append(action)
            return np.int64(0), 0.0, False, False, {}

    clock = [0.0]
    monkeypatch.setattr("framework.environment_state.time.monotonic", lambda: clock[0])
    for trial in (is_restorable, forgets):
        clock[0] = 0.0
        assert trial(vectors_of(Slow))
        assert taken
        assert clock[0] < 4, "seconds, of a step and a reset that take 0.1 s each"


@pytest.mark.parametrize("options", ENVIRONMENTS, ids=name_of)
def test_a_restored_environment_does_what_the_captured_one_does(options: dict[str, Any]) -> None:
    make = Environment(num_envs=3, **options).make
    one, other, used = make(), make(), make()
    one.reset(seed=7)
    one.action_space.seed(7)
    for _ in range(25):
        one.step(one.action_space.sample())
    used.reset(seed=8)  # one that has been used can be restored as well
    used.step(used.action_space.sample())
    state = through_a_file(capture(one))
    restore(other, state)
    restore(used, state)
    ended = 0
    for _ in range(260):
        action = one.action_space.sample()
        expected = one.step(action)
        assert are_equal(other.step(action), expected)
        assert are_equal(used.step(action), expected)
        ended += int(np.sum(expected[2] | expected[3]))
    assert ended > 0


def test_a_single_environment_can_be_restored() -> None:
    one, other = gymnasium.make("CartPole-v1"), gymnasium.make("CartPole-v1")
    one.reset(seed=0)
    one.step(1)
    restore(other, through_a_file(capture(one)))
    assert are_equal(one.step(0), other.step(0))
    assert are_equal(one.reset(), other.reset())  # from the same generator


def test_capturing_changes_nothing() -> None:
    make = Environment(id="fw/KArmedTestbed-v0", num_envs=3, max_episode_steps=5).make
    one, other = make(), make()
    for environment in (one, other):
        environment.reset(seed=0)
    for _ in range(300):
        capture(one)
        action = one.action_space.sample()
        assert are_equal(one.step(action), other.step(action))


def test_a_restored_environment_shares_nothing_with_the_state() -> None:
    one = gymnasium.make_vec("CartPole-v1", 2)
    one.reset(seed=0)
    state = capture(one)
    moves = []
    for _ in range(2):
        restore(one, state)
        moves.append(one.step(np.array([0, 1])))
    assert are_equal(*moves)


def vectors_of(kind: Callable[[], gymnasium.Env[Any, Any]]) -> Callable[[], gymnasium.vector.VectorEnv[Any, Any, Any]]:
    return lambda: gymnasium.vector.SyncVectorEnv([kind, kind])


def test_state_that_hides_is_found_out() -> None:
    capture(Hidden())  # nothing in it resists
    assert not is_restorable(vectors_of(Hidden))


def test_what_the_first_reset_makes_is_there() -> None:
    assert is_restorable(vectors_of(Lazy))


def test_processes_are_out_of_reach() -> None:
    environment = Environment(id="CartPole-v1", num_envs=2, vectorization="async")
    assert not is_restorable(environment.make)
    made = environment.make()
    try:
        with pytest.raises(NotCapturable) as caught:
            capture(made)
        assert str(caught.value) == "AsyncVectorEnv: the state of a AsyncVectorEnv is out of reach"
    finally:
        made.close()


@pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="Box2D is not installed")
@pytest.mark.filterwarnings("default")  # those of Box2D's own types
def test_objects_of_c_are_out_of_reach() -> None:
    assert not is_restorable(Environment(id="LunarLander-v3", num_envs=2).make)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((1, "a"), (1, "a"), True),
        ({"a": np.zeros(2)}, {"a": np.zeros(2)}, True),
        ({"a": np.zeros(2)}, {"b": np.zeros(2)}, False),
        (np.array([0.0]), np.array([-0.0]), False),
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.zeros(1, dtype=np.float32), np.zeros(1), False),
        ((1,), (1, 2), False),
    ],
)
def test_equal_is_bit_for_bit(one: Any, other: Any, same: bool) -> None:
    assert are_equal(one, other) is same
