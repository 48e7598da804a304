from __future__ import annotations

import gymnasium
import numpy as np

from framework import Environment
from framework_plugins.wrappers.flatten import flatten


def test_parts_stand_one_after_the_other_discrete_ones_one_hot() -> None:
    plain, flat = gymnasium.make("Blackjack-v1"), flatten(gymnasium.make("Blackjack-v1"))
    own, card, ace = plain.reset(seed=0)[0]
    expected = np.concatenate((np.eye(32)[own], np.eye(11)[card], np.eye(2)[ace]))
    np.testing.assert_array_equal(flat.reset(seed=0)[0], expected)


def test_it_makes_environments_usable_that_are_not() -> None:
    assert Environment(id="Blackjack-v1", wrappers=[flatten]).observation_space.shape == (45,)
