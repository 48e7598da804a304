from __future__ import annotations

import functools
import importlib.util
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.spaces import Box, Discrete, Text
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, RescaleAction, TimeLimit

from framework import Environment, OptionError
from framework.environment import autoreset_mode, reset_seeds
from framework.options import check_annotation, is_deferred, options_of
from framework_plugins.environments.short_corridor import ShortCorridorVectorEnv
from framework_plugins.wrappers.frame_stack import frame_stack

TWO_FRAMES = functools.partial(frame_stack, size=2)


class Speaking(gymnasium.Env[Any, Any]):
    """An environment whose actions are words."""

    observation_space, action_space = Discrete(2), Text(4, charset="ab")


class Silent(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """A vector environment that does not say how it resets."""

    def __init__(self, num_envs: int = 1) -> None:
        self.num_envs = num_envs


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry := dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registry)
    gymnasium.register("Speaking-v0", Speaking)


def test_the_spaces_are_those_of_one_environment() -> None:
    environment = Environment(id="CartPole-v1", num_envs=8)
    assert environment.action_space == Discrete(2)
    assert isinstance(environment.observation_space, Box)
    assert environment.observation_space.shape == (4,)
    assert environment.num_envs == 8


@pytest.mark.parametrize(
    ("options", "form", "kind"),
    [
        ({}, "its own vector form", CartPoleVectorEnv),
        ({"kwargs": {"sutton_barto_reward": True}}, "its own vector form", CartPoleVectorEnv),
        ({"vectorization": "sync"}, "sync", SyncVectorEnv),
        ({"autoreset": "same_step"}, "sync", SyncVectorEnv),  # which its own form cannot do
        ({"wrappers": [TWO_FRAMES]}, "sync", SyncVectorEnv),
        ({"id": "Pendulum-v1"}, "sync", SyncVectorEnv),  # which has none
        ({"id": "fw/ShortCorridor-v0", "autoreset": "same_step"}, "its own vector form", ShortCorridorVectorEnv),
    ],
)
def test_how_environments_are_stepped_together(options: dict[str, Any], form: str, kind: type) -> None:
    environment = Environment(**{"id": "CartPole-v1", "num_envs": 3, **options})
    made = environment.make()
    assert environment.vectorized_by == form
    assert type(made) is kind
    assert made.num_envs == 3
    assert environment.make(5).num_envs == 5
    assert made.single_observation_space == environment.observation_space
    made.reset(seed=0)
    made.step(made.action_space.sample())


def test_environments_in_processes_of_their_own() -> None:
    environment = Environment(id="CartPole-v1", num_envs=2, vectorization="async")
    made = environment.make()
    try:
        assert isinstance(made, AsyncVectorEnv)
        assert made.reset(seed=0)[0].shape == (2, 4)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"id": "CartPole-v1"}, 7),
        ({"id": "CartPole-v1", "vectorization": "sync"}, 7),
        ({"id": "Pendulum-v1"}, 7),
        ({"id": "fw/ShortCorridor-v0"}, 7),
    ],
)
def test_a_limit_of_steps_holds_in_every_form(options: dict[str, Any], steps: int) -> None:
    environment = Environment(num_envs=2, max_episode_steps=steps, **options)
    made = environment.make()
    made.reset(seed=0)
    made.action_space.seed(0)
    action = np.zeros_like(made.action_space.sample())  # to the left: no corridor's end; seven steps hold any pole
    truncations = [made.step(action)[3].tolist() for _ in range(steps)]
    assert truncations == [[False, False]] * (steps - 1) + [[True, True]]
    one = environment.make_one()
    one.reset(seed=0)
    assert [one.step(action[0])[3] for _ in range(steps)] == [False] * (steps - 1) + [True]


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"id": "CartPole-v1"}, 500),
        ({"id": "CartPole-v1", "max_episode_steps": 30}, 30),
        ({"id": "CartPole-v1", "max_episode_steps": 900, "vectorization": "sync"}, 900),
        ({"id": "fw/ShortCorridor-v0"}, None),
        ({"id": "CliffWalking-v1"}, None),
        ({"id": "fw/KArmedTestbed-v0", "max_episode_steps": 7}, 7),
    ],
)
def test_the_limit_is_as_given_or_as_registered(options: dict[str, Any], limit: int | None) -> None:
    assert Environment(**options).limit == limit


def test_the_mode_stays_what_it_was_when_others_are_made() -> None:
    # Gymnasium keeps it in a dictionary that all environments of a class share.
    first = Environment(id="Pendulum-v1", autoreset="next_step").make()
    second = Environment(id="Pendulum-v1", autoreset="same_step").make()
    assert [autoreset_mode(one) for one in (first, second)] == [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
    assert first.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_environments_that_do_not_say_how_they_reset_are_refused() -> None:
    with pytest.raises(OptionError) as caught:
        autoreset_mode(Silent())
    assert str(caught.value) == (
        'id: expected a vector form that says how it resets, in metadata["autoreset_mode"], '
        "found Silent, whose metadata says None"
    )


def test_one_environment_to_watch_has_its_wrappers() -> None:
    options = {"kwargs": {"g": 9.81}, "wrappers": [functools.partial(frame_stack, size=3)], "max_episode_steps": 20}
    one = Environment(id="Pendulum-v1", **options).make_one("rgb_array")
    assert isinstance(one, FrameStackObservation)
    assert isinstance(one.env, TimeLimit)
    assert one.unwrapped.g == 9.81  # type: ignore[attr-defined]
    one.reset(seed=0)
    assert np.shape(one.render()) == (500, 500, 3)


def test_wrappers_are_applied_from_the_first_to_the_last() -> None:
    first = functools.partial(RescaleAction, min_action=np.float32(-1), max_action=np.float32(1))
    one = Environment(id="Pendulum-v1", wrappers=[first, TWO_FRAMES]).make_one()
    assert isinstance(one, FrameStackObservation)
    assert isinstance(one.env, RescaleAction)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"num_envs": 8},
            "CartPole-v1, 8 environments side by side by its own vector form, next-step autoreset",
        ),
        (
            {"autoreset": "same_step", "wrappers": [TWO_FRAMES], "max_episode_steps": 9},
            "CartPole-v1, 1 environment one after the other, 1 wrapper, at most 9 steps an episode, "
            "same-step autoreset",
        ),
        (
            {"num_envs": 2, "vectorization": "async"},
            "CartPole-v1, 2 environments in a process each, next-step autoreset",
        ),
    ],
)
def test_it_describes_itself(options: dict[str, Any], sentence: str) -> None:
    assert Environment(id="CartPole-v1", **options).description == sentence


ID = "the id of an environment in gymnasium's registry, with its version"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs: expected 1 or more, found 0"),
        ({"max_episode_steps": 0}, "max_episode_steps: expected 1 or more, found 0"),
        ({"id": "CartPole"}, f"id: expected {ID}, found CartPole; write CartPole-v1"),
        ({"id": "cartpol-v1"}, f"id: expected {ID}, found cartpol-v1; write CartPole-v1"),
        ({"id": "CartPole-v7"}, f"id: expected {ID}, found CartPole-v7; write CartPole-v1"),
        ({"id": "antigravity:CartPole-v1"}, f"id: expected {ID}, found antigravity:CartPole-v1"),
        ({"id": "Xyzzy"}, f"id: expected {ID}, found Xyzzy"),
        (
            {"kwargs": {"sutton_reward": True}},
            "kwargs.sutton_reward: expected an option of CartPole-v1: sutton_barto_reward, found True; "
            "write sutton_barto_reward",
        ),
        (
            {"id": "MountainCar-v0", "kwargs": {"gravity": 1.0}},
            "kwargs.gravity: expected an option of MountainCar-v0: goal_velocity, found 1.0; write goal_velocity",
        ),
        (
            {"id": "FrozenLake-v1", "kwargs": {"map_name": "9x9"}},
            "kwargs: expected what FrozenLake-v1 accepts (KeyError: '9x9'), found {map_name: 9x9}",
        ),
        (
            {"id": "fw/KArmedTestbed-v0", "kwargs": {"arms": 0}},
            "kwargs.arms: expected 1 or more, found 0",
        ),
        (
            {"id": "Pendulum-v1", "vectorization": "vector_entry_point"},
            "vectorization: expected sync, async or auto: Pendulum-v1 has no vector form of its own, "
            "found vector_entry_point; write vectorization: sync",
        ),
        (
            {"vectorization": "vector_entry_point", "autoreset": "same_step"},
            "autoreset: expected next_step, which is all that the vector form of CartPole-v1 does, found same_step; "
            "write vectorization: sync",
        ),
        (
            {"vectorization": "vector_entry_point", "wrappers": [TWO_FRAMES]},
            "wrappers: expected none with vectorization: vector_entry_point, whose environments cannot be wrapped one "
            "by one, found 1; write vectorization: sync",
        ),
        (
            {"wrappers": [functools.partial(frame_stack, size=1)]},
            "wrappers[0].size: expected 2 or more, found 1",
        ),
        (
            {"wrappers": [FlattenObservation, functools.partial(RescaleAction, min_action=-1, max_action=1)]},
            "wrappers[1]: expected a wrapper that does (AssertionError), found one that does not fit CartPole-v1",
        ),
        (
            {"id": "Blackjack-v1"},
            "wrappers: expected observations that are one array each, found observations in Tuple(Discrete(32), "
            "Discrete(11), Discrete(2)); write wrappers: [{name: flatten}]",
        ),
        (
            {"id": "Speaking-v0"},
            "id: expected actions in a Discrete, Box, MultiDiscrete or MultiBinary space, "
            "found Speaking-v0, with actions in Text(1, 4, charset=ab)",
        ),
    ],
)
@pytest.mark.usefixtures("speaking")
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Environment(**{"id": "CartPole-v1", **options})
    assert str(caught.value) == message


@pytest.mark.skipif(importlib.util.find_spec("Box2D") is not None, reason="Box2D is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(OptionError, match=r'Box2D is not installed.*`pip install "gymnasium\[box2d\]"`.*LunarLander'):
        Environment(id="LunarLander-v3")


def test_a_recipe_can_express_every_option() -> None:
    options = options_of(Environment)
    assert {name: check_annotation(option.annotation) for name, option in options.items()} == dict.fromkeys(
        options, True
    )
    assert {name for name, option in options.items() if is_deferred(option.annotation)} == {"wrappers"}
    assert {"id", "num_envs", "kwargs", "wrappers", "max_episode_steps", "vectorization", "autoreset"} <= set(options)


def test_no_environment_has_the_seed_of_another() -> None:
    together, apart = 5 << 32, lambda i: (7 + i) << 32
    for manner, expected in (("vector_entry_point", 5), ("sync", [7, 8, 9])):
        environment = Environment(id="CartPole-v1", num_envs=3, vectorization=manner).make()
        assert reset_seeds(environment, together, apart) == expected
