from __future__ import annotations

import gymnasium
import pytest
from gymnasium.wrappers import FlattenObservation

from framework import Environment, register_wrapper
from framework.options import options_of
from framework.wrapper import wrappers


@pytest.mark.usefixtures("own_registries")
def test_a_class_and_a_function_can_be_registered() -> None:
    @register_wrapper("negative")
    class Negative(gymnasium.RewardWrapper):  # type: ignore[type-arg]
        def __init__(self, environment: gymnasium.Env) -> None:  # type: ignore[type-arg]
            super().__init__(environment)

        def reward(self, reward: object) -> float:
            return -float(reward)  # type: ignore[arg-type]

    @register_wrapper("flat")
    def flat(environment: gymnasium.Env) -> gymnasium.Wrapper:  # type: ignore[type-arg]
        return FlattenObservation(environment)

    chosen = [wrappers[name].factory for name in ("negative", "flat")]
    one = Environment(id="CartPole-v1", wrappers=chosen).make_one()
    one.reset(seed=0)
    assert one.step(0)[1] == -1.0


def test_what_is_wrapped_is_supplied_and_no_option() -> None:
    assert wrappers.context == ("environment",)
    assert len(list(wrappers)) >= 6
    for entry in wrappers:
        assert next(iter(options_of(entry.factory))) == "environment", entry.place
