"""fw/CartPolePixels-v0: CartPole-v1 seen as the last three pictures instead of as four numbers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from framework import OptionError
from framework_plugins.environments.autoreset import Array, AutoresetVectorEnv, Choice, Mask
from framework_plugins.environments.cartpole_picture import SIZE, draw
from framework_plugins.environments.refusals import check_action, refuse_options, refuse_step_outside_episode

FRAMES = 3
Pixels = NDArray[np.uint8]


class CartPolePixels(gymnasium.Env[Pixels, np.int64]):
    """Balance a pole on a cart by looking at it: the dynamics, rewards and ends of gymnasium's CartPole-v1.

    * Observation: Box(0, 255, [80, 80, 3], uint8), rows, columns, channels: gymnasium's order for images, which a
      network with channels first transposes. The channels are no colours but the last three frames, the newest last, so
      that velocities can be seen; after a reset all three are the first. What a frame shows: `cartpole_picture.draw`.
    * Action: Discrete(2), 0 pushes to the left and 1 to the right.
    * Reward: 1 for every step, also for the last.
    * End: terminated when the pole leans over 12° or the cart's middle leaves ±2.4 m; truncated after 500 steps, a
      limit that `gymnasium.make` sets.

    With the same seed and actions its states are those of CartPole-v1.

    Args:
        render_mode: "rgb_array" makes `render` return the newest frame in grey, uint8 [80, 80, 3].

    Raises:
        OptionError: `render_mode` is another.

    Example:
        >>> environment = gymnasium.make("fw/CartPolePixels-v0")
        >>> environment.reset(seed=0)[0].shape
        (80, 80, 3)

    Reference: Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult learning control
    problems", 1983, https://doi.org/10.1109/TSMC.1983.6313077;
    https://gymnasium.farama.org/environments/classic_control/cart_pole.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 - gymnasium's attribute, and its type

    def __init__(self, *, render_mode: str | None = None) -> None:
        self.render_mode = _check_render_mode(render_mode)
        self.observation_space = Box(0, 255, (SIZE, SIZE, FRAMES), np.uint8)
        self.action_space = Discrete(2)
        self._dynamics: Any = CartPoleEnv()  # its annotations say that `state` is None
        self._frames = np.zeros((SIZE, SIZE, FRAMES), dtype=np.uint8)
        self._inside = False

    @property
    def state(self) -> NDArray[np.float64]:
        """Position (m), velocity (m/s), angle (rad) and angular velocity (rad/s), float64 [4], as in CartPole-v1."""
        return np.array(self._dynamics.state)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Pixels, dict[str, Any]]:
        refuse_options(options)
        super().reset(seed=seed)
        self._dynamics.np_random = self.np_random
        self._dynamics.reset()
        self._frames = np.repeat(self._picture(), FRAMES, axis=2)
        self._inside = True
        return self._frames.copy(), {}

    def step(self, action: np.int64) -> tuple[Pixels, float, bool, bool, dict[str, Any]]:
        refuse_step_outside_episode(self._inside)
        _, reward, terminated, _, _ = self._dynamics.step(check_action(action, 2))
        self._frames = np.concatenate((self._frames[..., 1:], self._picture()), axis=2)
        self._inside = not terminated
        return self._frames.copy(), float(reward), terminated, False, {}

    def render(self) -> Any:  # gymnasium leaves the frame's type open; uint8 [80, 80, 3] or None
        return np.repeat(self._frames[..., -1:], 3, axis=2) if self.render_mode else None

    def _picture(self) -> Pixels:
        position, _, angle, _ = self._dynamics.state
        return draw(np.array([position]), np.array([angle]))[0, ..., None]  # [80, 80, 1]


class CartPolePixelsVectorEnv(AutoresetVectorEnv):
    """N carts with poles at once, in numpy arrays: each a `CartPolePixels`, with a stream of its own.

    Observations uint8 [N, 80, 80, 3], rewards float64 [N]; streams and autoreset are those of `AutoresetVectorEnv`, the
    dynamics those of gymnasium's `CartPoleVectorEnv`.

    Args:
        num_envs: N, 1 or more.
        render_mode: "rgb_array" makes `render` return the newest frames in grey, each uint8 [80, 80, 3].
        max_episode_steps: steps until an episode is truncated; `gymnasium.make_vec` sets 500. None is never.
        autoreset_mode: what the step after an end is.

    Raises:
        OptionError: an option has a value that it cannot have.

    Example:
        >>> environments = gymnasium.make_vec("fw/CartPolePixels-v0", num_envs=16, autoreset_mode="SameStep")
        >>> environments.reset(seed=0)[0].shape
        (16, 80, 80, 3)
    """

    metadata = {  # noqa: RUF012 - gymnasium's attribute, and its type
        "render_modes": ["rgb_array"],
        "render_fps": 50,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        *,
        num_envs: int = 1,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: Choice = AutoresetMode.NEXT_STEP,
    ) -> None:
        super().__init__(
            num_envs=num_envs,
            observation_space=Box(0, 255, (SIZE, SIZE, FRAMES), np.uint8),
            action_space=Discrete(2),
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
        )
        self.render_mode = _check_render_mode(render_mode)
        self._dynamics: Any = CartPoleVectorEnv(num_envs)  # its annotations say that `state` is None
        self._dynamics.reset()  # makes room for the states; those of our episodes are drawn in `_begin`
        self._frames = np.zeros((num_envs, SIZE, SIZE, FRAMES), dtype=np.uint8)

    @property
    def states(self) -> NDArray[np.float64]:
        """Position (m), velocity (m/s), angle (rad) and angular velocity (rad/s), float64 [N, 4]."""
        return np.array(self._dynamics.state.T)

    def render(self) -> Any:  # gymnasium leaves the frame's type open; N times uint8 [80, 80, 3] or None
        return tuple(np.repeat(self._frames[..., -1:], 3, axis=3)) if self.render_mode else None

    def _begin(self, which: Mask) -> None:
        # The states are [4, N]: position, velocity, angle, angular velocity.
        low, high, rows = self._dynamics.low, self._dynamics.high, np.flatnonzero(which)
        for row in rows:
            self._dynamics.state[:, row] = self.generators[row].uniform(low, high, size=4)
        self._frames[rows] = draw(*self._dynamics.state[::2, rows])[..., None]

    def _advance(self, actions: NDArray[np.int64], active: Mask) -> tuple[Array, Mask, dict[str, Array]]:
        self._dynamics.prev_done[:] = False  # or it would begin episodes by itself, from one stream for all
        _, rewards, terminations, _, _ = self._dynamics.step(actions)
        # Drop each pixel's oldest frame: all bytes one to the left, in one copy, which is faster than by channels.
        # The last byte of each pixel is then the next one's first, until the new frame takes its place.
        flat = self._frames.reshape(-1)
        flat[:-1] = flat[1:]
        self._frames[..., -1] = draw(*self._dynamics.state[::2])
        return rewards.astype(np.float64), terminations, {}

    def _observe(self) -> Array:
        return self._frames.copy()


def _check_render_mode(mode: str | None) -> str | None:
    if mode not in (None, "rgb_array"):
        raise OptionError("render_mode", found=mode, expected='"rgb_array" or null')
    return mode


gymnasium.register(
    id="fw/CartPolePixels-v0",
    entry_point=f"{__name__}:CartPolePixels",
    vector_entry_point=f"{__name__}:CartPolePixelsVectorEnv",
    max_episode_steps=500,
    reward_threshold=475.0,
)
