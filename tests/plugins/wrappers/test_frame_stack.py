from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from framework import OptionError
from framework_plugins.wrappers.frame_stack import frame_stack


def test_the_last_observations_are_stacked_the_newest_last() -> None:
    plain, stacked = gymnasium.make("CartPole-v1"), frame_stack(gymnasium.make("CartPole-v1"), size=3)
    seen = [plain.reset(seed=0)[0]] * 3
    np.testing.assert_array_equal(stacked.reset(seed=0)[0], seen)
    for action in (0, 1, 1, 0):
        seen = [*seen[1:], plain.step(action)[0]]
        np.testing.assert_array_equal(stacked.step(action)[0], seen)


def test_one_frame_is_no_stack() -> None:
    with pytest.raises(OptionError) as caught:
        frame_stack(gymnasium.make("CartPole-v1"), size=1)
    assert str(caught.value) == "size: expected 2 or more, found 1"
