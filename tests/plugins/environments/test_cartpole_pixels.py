"""CartPole from pixels: the dynamics against CartPole-v1, the frames against the pictures of its states."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from framework import OptionError
from framework_plugins.environments.cartpole_picture import draw
from framework_plugins.environments.cartpole_pixels import CartPolePixels, CartPolePixelsVectorEnv


def picture(state: NDArray[np.float64]) -> Any:
    return draw(state[:1], state[2:3])[0]


def test_the_dynamics_are_those_of_cartpole() -> None:
    pixels, numbers = gymnasium.make("fw/CartPolePixels-v0"), gymnasium.make("CartPole-v1")
    ours: Any = pixels.unwrapped
    chance, episodes = np.random.default_rng(2), 0
    state, _ = numbers.reset(seed=7)
    pixels.reset(seed=7)
    for _ in range(200):
        np.testing.assert_array_equal(ours.state.astype(np.float32), state)
        action = np.int64(chance.integers(2))
        state, *theirs = numbers.step(action)
        assert list(pixels.step(action)[1:]) == theirs
        if theirs[1] or theirs[2]:
            np.testing.assert_array_equal(ours.state.astype(np.float32), state)
            state, _ = numbers.reset()
            pixels.reset()
            episodes += 1
    assert episodes > 3


def test_an_episode_is_truncated_after_500_steps() -> None:
    for name in ("fw/CartPolePixels-v0", "CartPole-v1"):
        assert gymnasium.spec(name).max_episode_steps == 500
    many: Any = gymnasium.make_vec("fw/CartPolePixels-v0", num_envs=1)
    assert many.max_episode_steps == 500


def test_the_channels_are_the_last_three_frames() -> None:
    environment = CartPolePixels()
    observation, _ = environment.reset(seed=0)
    frames = [picture(environment.state)] * 3
    for action in (1, 1, 0, 1, 1, 1):
        assert observation.dtype == np.uint8
        np.testing.assert_array_equal(observation, np.stack(frames[-3:], axis=-1))
        observation = environment.step(np.int64(action))[0]
        frames.append(picture(environment.state))
    assert not np.array_equal(frames[-1], frames[0])  # it moves
    observation, _ = environment.reset()
    np.testing.assert_array_equal(observation, np.stack([picture(environment.state)] * 3, axis=-1))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_the_channels_through_an_autoreset(mode: Any) -> None:
    environments = CartPolePixelsVectorEnv(num_envs=3, autoreset_mode=mode)
    environments.reset(seed=0)
    frames = [[picture(state)] * 3 for state in environments.states]
    begins = np.zeros(3, dtype=np.bool_)
    resets = 0
    for _ in range(60):
        # Always to the right in the first: episodes of different lengths.
        actions = np.array([1, *np.random.default_rng(resets).integers(0, 2, 2)])
        observations, _, terminations, _, infos = environments.step(actions)
        now = terminations if mode == "SameStep" else begins
        for i in range(3):
            if now[i] and mode == "SameStep":
                np.testing.assert_array_equal(infos["final_obs"][i][..., :2], np.stack(frames[i][-2:], axis=-1))
            newest = picture(environments.states[i])
            frames[i] = [newest] * 3 if now[i] else [*frames[i][1:], newest]
            np.testing.assert_array_equal(observations[i], np.stack(frames[i], axis=-1))
        resets += int(now.sum())
        begins = terminations
    assert resets > 5


def test_what_is_rendered_is_the_newest_frame_in_grey() -> None:
    single = gymnasium.make("fw/CartPolePixels-v0", render_mode="rgb_array")
    many = gymnasium.make_vec("fw/CartPolePixels-v0", num_envs=2, render_mode="rgb_array")
    single.reset(seed=0)
    many.reset(seed=0)
    observation = single.step(np.int64(1))[0]
    observations = many.step(np.array([1, 0]))[0]
    images: list[Any] = [single.render(), *(many.render() or ())]
    assert len(images) == 3
    for image, newest in zip(images, (observation[..., 2], *observations[..., 2]), strict=True):
        np.testing.assert_array_equal(image, np.stack([newest] * 3, axis=-1))
    assert CartPolePixels().render() is None
    assert CartPolePixelsVectorEnv().render() is None


@pytest.mark.parametrize("kind", [CartPolePixels, CartPolePixelsVectorEnv])
def test_another_render_mode_is_refused(kind: Any) -> None:
    with pytest.raises(OptionError) as caught:
        kind(render_mode="human")
    assert str(caught.value) == 'render_mode: expected "rgb_array" or null, found human'
