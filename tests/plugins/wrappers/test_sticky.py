from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from framework import OptionError
from framework_plugins.wrappers.sticky import sticky


def test_actions_are_repeated_as_often_as_said() -> None:
    # The corridor shows what was done: from its first state, an action to the right leads on and one to the left not.
    corridor = sticky(gymnasium.make("fw/ShortCorridor-v0", observe_state=True), probability=0.25)
    repeated = []
    for seed in range(1000):
        corridor.reset(seed=seed)
        assert corridor.step(np.int64(0))[0] == 0
        repeated.append(corridor.step(np.int64(1))[0] == 0)
    # Four standard errors of a mean of 1000 are 4 √(0.25 · 0.75 / 1000) = 0.055.
    assert abs(np.mean(repeated) - 0.25) < 0.055


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        sticky(gymnasium.make("CartPole-v1"), probability=1.0)
    assert str(caught.value) == "probability: expected a number from 0 to below 1, found 1.0"
