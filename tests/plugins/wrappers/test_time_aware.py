from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from framework import OptionError
from framework_plugins.wrappers.time_aware import time_aware


@pytest.mark.parametrize(("normalize", "expected"), [(True, [0.0, 0.05, 0.1]), (False, [0.0, 1.0, 2.0])])
def test_the_observation_ends_with_the_time(normalize: bool, expected: list[float]) -> None:
    aware = time_aware(gymnasium.make("CartPole-v1", max_episode_steps=20), normalize=normalize)
    plain = gymnasium.make("CartPole-v1")
    for _ in range(2):  # a new episode begins at 0
        seen = [aware.reset(seed=0)[0], aware.step(1)[0], aware.step(0)[0]]
        known = [plain.reset(seed=0)[0], plain.step(1)[0], plain.step(0)[0]]
        np.testing.assert_allclose(np.array(seen)[:, -1], expected, rtol=1e-7)  # a float32
        np.testing.assert_array_equal(np.array(seen, dtype=np.float32)[:, :-1], known)


def test_without_a_limit_there_is_no_time_left_to_be_known() -> None:
    with pytest.raises(OptionError) as caught:
        time_aware(gymnasium.make("fw/ShortCorridor-v0"))
    assert str(caught.value) == (
        "name: expected max_episode_steps in the environment's section, found no limit of steps"
    )
