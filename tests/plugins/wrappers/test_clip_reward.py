from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from framework import OptionError
from framework_plugins.wrappers.clip_reward import clip_reward


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-10.0, None, -10.0), (None, -99.0, -100.0), (-1.0, 1.0, -1.0), (None, 1.0, -100.0)]
)
def test_rewards_are_cut_off(low: float | None, high: float | None, expected: float) -> None:
    cliff = clip_reward(gymnasium.make("CliffWalking-v1"), low=low, high=high)
    cliff.reset(seed=0)
    assert cliff.step(np.int64(1))[1] == expected  # to the right of the start is the cliff, which pays −100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "low: expected low, high or both, found no bound; write low: -1"),
        ({"low": 2.0, "high": 1.0}, "low: expected at most high, which is 1.0, found 2.0"),
    ],
)
def test_what_are_no_bounds_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        clip_reward(gymnasium.make("CliffWalking-v1"), **options)
    assert str(caught.value) == message
