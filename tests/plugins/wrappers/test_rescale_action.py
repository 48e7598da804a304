from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from framework import OptionError
from framework_plugins.wrappers.rescale_action import rescale_action


@pytest.mark.parametrize(("given", "meant"), [(-1.0, -2.0), (0.0, 0.0), (0.5, 1.0), (1.0, 2.0)])
def test_the_bounds_stand_for_those_of_the_box(given: float, meant: float) -> None:
    rescaled, plain = rescale_action(gymnasium.make("Pendulum-v1")), gymnasium.make("Pendulum-v1")
    assert rescaled.action_space == Box(-1.0, 1.0, (1,), np.float32)
    rescaled.reset(seed=0)
    plain.reset(seed=0)
    found = rescaled.step(np.array([given], dtype=np.float32))
    expected = plain.step(np.array([meant], dtype=np.float32))
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Pendulum-v1", {"low": 1.0}, "low: expected less than high, which is 1.0, found 1.0"),
        ("CartPole-v1", {}, "name: expected a box of actions with finite bounds, found actions in Discrete(2)"),
    ],
)
def test_what_cannot_be_rescaled_is_refused(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        rescale_action(gymnasium.make(name), **options)
    assert str(caught.value) == message
