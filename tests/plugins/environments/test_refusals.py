"""What an environment refuses, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from framework_plugins.environments.refusals import (
    check_action,
    check_actions,
    refuse_options,
    refuse_step_outside_episode,
)


def test_options_are_refused() -> None:
    refuse_options(None)
    refuse_options({})
    with pytest.raises(ValueError, match="reset") as caught:
        refuse_options({"low": 0})
    assert str(caught.value) == "reset(options): expected none, found {'low': 0}; write reset(seed=…)"


def test_a_step_outside_an_episode_is_refused() -> None:
    refuse_step_outside_episode(True)
    with pytest.raises(ResetNeeded) as caught:
        refuse_step_outside_episode(False)
    assert str(caught.value) == (
        "step(): expected an episode that has begun and not ended, found none; call reset() first"
    )


@pytest.mark.parametrize("action", [1, np.int64(1), np.array(1), np.uint8(1)])
def test_an_action_is_a_whole_number_of_any_kind(action: object) -> None:
    assert check_action(action, 2) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("action", [-1, 2, 0.0, "0", None, np.array([0, 1])])
def test_another_action_is_refused(action: object) -> None:
    with pytest.raises(ValueError, match="action") as caught:
        check_action(action, 2)  # type: ignore[arg-type]
    assert str(caught.value) == f"step(action): expected a whole number from 0 to 1, found {action!r}"


@pytest.mark.parametrize(
    ("actions", "found"),
    [
        ([0, 1], "int64 of shape (2,)"),
        ([0.0, 1.0, 0.0], "float64 of shape (3,)"),
        ([[0, 1, 0]], "int64 of shape (1, 3)"),
        ([0, 1, 2], "2 for environment 2"),
        ([0, -1, 2], "-1 for environment 1"),
    ],
)
def test_other_actions_are_refused(actions: object, found: str) -> None:
    with pytest.raises(ValueError, match="action") as caught:
        check_actions(actions, 3, 2)
    assert str(caught.value) == f"step(actions): expected 3 whole numbers from 0 to 1, found {found}"


def test_actions_are_int64() -> None:
    checked = check_actions(np.array([1, 0], dtype=np.uint8), 2, 2)
    assert checked.dtype == np.int64
    assert checked.tolist() == [1, 0]
