"""Every environment's vector form against gymnasium's own vector of single ones, in both modes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

import framework_plugins
from framework import OptionError

assert framework_plugins  # its import registers the environments
IDS = sorted(name for name in gymnasium.registry if name.startswith("fw/"))
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "fw/KArmedTestbed-v0": [{}, {"arms": 3, "mean": 4.0, "reward_scale": 0.5, "drift": 0.1}],
    "fw/ShortCorridor-v0": [{}, {"observe_state": True}],
}
CASES = [(name, options) for name in IDS for options in OPTIONS.get(name, [{}])]
N, STEPS = 4, 70


def singles(name: str, options: dict[str, Any], mode: AutoresetMode, seed: int, limit: int) -> VectorEnv[Any, Any, Any]:
    """Return gymnasium's vector of N single environments, each with the stream that the vector form gives it."""

    def single(i: int) -> Callable[[], gymnasium.Env[Any, Any]]:
        def make() -> gymnasium.Env[Any, Any]:
            made = gymnasium.make(name, max_episode_steps=limit, **options)
            made.unwrapped.np_random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
            return made

        return make

    return SyncVectorEnv([single(i) for i in range(N)], autoreset_mode=mode)


def actions_of(environments: VectorEnv[Any, Any, Any], steps: int = STEPS) -> NDArray[np.int64]:
    count = int(environments.single_action_space.n)  # type: ignore[attr-defined]
    return np.random.default_rng(5).integers(0, count, size=(steps, environments.num_envs))


def test_the_environments_are_found() -> None:
    assert {"fw/KArmedTestbed-v0", "fw/ShortCorridor-v0", "fw/CartPolePixels-v0"} <= set(IDS)
    assert all(gymnasium.spec(name).vector_entry_point for name in IDS)
    assert set(OPTIONS) <= set(IDS)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gymnasium_finds_nothing_wrong_with_a_single_one(name: str, options: dict[str, Any]) -> None:
    check_env(gymnasium.make(name, **options).unwrapped)  # its warnings are errors here


def same_infos(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal, but for keys that nothing is known of: gymnasium leaves them out."""
    nothing = {key for key, mask in ours.items() if key.startswith("_") and not mask.any()}
    assert ours.keys() - nothing - {key[1:] for key in nothing} == theirs.keys()
    for key, values in theirs.items():
        if isinstance(values, dict):
            same_infos(ours[key], values)
        elif values.dtype == object:
            assert [value is None for value in ours[key]] == [value is None for value in values]
            assert all(np.array_equal(a, b) for a, b in zip(ours[key], values, strict=True) if b is not None)
        else:
            np.testing.assert_array_equal(ours[key], values)
            assert ours[key].dtype == values.dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_vector_form_is_gymnasiums_vector_of_single_ones(
    name: str, options: dict[str, Any], mode: AutoresetMode
) -> None:
    ours = gymnasium.make_vec(name, num_envs=N, max_episode_steps=15, autoreset_mode=mode, **options)
    theirs = singles(name, options, mode, seed=3, limit=15)
    assert ours.metadata["autoreset_mode"] is mode
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset()[0])
    ends = 0
    for actions in actions_of(ours):
        observations, rewards, terminations, truncations, infos = ours.step(actions)
        expected = theirs.step(actions)
        for mine, its in zip((observations, rewards, terminations, truncations), expected[:4], strict=True):
            np.testing.assert_array_equal(mine, its)
            assert mine.dtype == its.dtype
        same_infos(infos, expected[4])
        assert ours.observation_space.contains(observations)
        ends += int((terminations | truncations).sum())
    assert ends >= 4 * N  # or nothing was shown


def real_transitions(environments: VectorEnv[Any, Any, Any], steps: int) -> list[list[tuple[Any, ...]]]:
    """Return each environment's transitions without the dummies; its k-th action is the same in both modes."""
    plan = actions_of(environments, steps)
    found: list[list[tuple[Any, ...]]] = [[] for _ in range(N)]
    before, _ = environments.reset(seed=3)
    dummy = np.zeros(N, dtype=np.bool_)
    same_step = environments.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for _ in range(steps):
        actions = np.array([plan[len(found[i]), i] for i in range(N)])
        after, rewards, terminations, truncations, infos = environments.step(actions)
        ended = terminations | truncations
        for i in np.flatnonzero(~dummy):
            last = infos["final_obs"][i] if same_step and ended[i] else after[i]
            found[i].append(
                (before[i].tobytes(), actions[i], rewards[i], terminations[i], truncations[i], last.tobytes())
            )
        before, dummy = after, ended & (not same_step)
    return found


@pytest.mark.parametrize(("name", "options"), CASES)
def test_both_modes_have_the_same_real_transitions(name: str, options: dict[str, Any]) -> None:
    next_step, same_step = (
        real_transitions(
            gymnasium.make_vec(name, num_envs=N, max_episode_steps=9, autoreset_mode=mode, **options), STEPS
        )
        for mode in MODES
    )
    for fewer, more in zip(next_step, same_step, strict=True):
        assert len(fewer) < len(more) == STEPS  # the dummies are gone
        assert fewer == more[: len(fewer)]
        assert sum(terminated or truncated for *_, terminated, truncated, _ in fewer) >= 4


def through_an_end(mode: AutoresetMode) -> list[list[Any]]:
    """Walk one corridor to its goal and on, while another is truncated after 4 steps."""
    corridors = gymnasium.make_vec(
        "fw/ShortCorridor-v0", num_envs=2, observe_state=True, max_episode_steps=4, autoreset_mode=mode
    )
    seen: list[list[Any]] = [corridors.reset(seed=0)[0].tolist()]
    for actions in ([1, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1]):  # 1 is right
        observations, rewards, terminations, truncations, infos = corridors.step(np.array(actions))
        final = [None if last is None else int(last) for last in infos.get("final_obs", [None, None])]
        seen.append([array.tolist() for array in (observations, rewards, terminations, truncations)] + [final])
    return seen


def test_an_end_transition_by_transition_in_the_next_step() -> None:
    none = [None, None]
    assert through_an_end(AutoresetMode.NEXT_STEP) == [
        [0, 0],
        [[1, 0], [-1, -1], [False, False], [False, False], none],
        [[2, 0], [-1, -1], [False, False], [False, False], none],
        [[3, 0], [-1, -1], [True, False], [False, False], none],  # the goal
        [[0, 0], [0, -1], [False, False], [False, True], none],  # a dummy; the other is truncated
        [
            [0, 0],
            [-1, 0],
            [False, False],
            [False, False],
            none,
        ],  # the wall; a dummy, which does not go right
        [[0, 1], [-1, -1], [False, False], [False, False], none],
    ]


def test_an_end_transition_by_transition_in_the_same_step() -> None:
    none = [None, None]
    assert through_an_end(AutoresetMode.SAME_STEP) == [
        [0, 0],
        [[1, 0], [-1, -1], [False, False], [False, False], none],
        [[2, 0], [-1, -1], [False, False], [False, False], none],
        [[0, 0], [-1, -1], [True, False], [False, False], [3, None]],
        [[1, 0], [-1, -1], [False, False], [False, True], [None, 0]],
        [[2, 1], [-1, -1], [False, False], [False, False], none],
        [[1, 0], [-1, -1], [False, False], [False, False], none],  # left, and right in the state that switches them
    ]


@pytest.mark.parametrize("name", IDS)
def test_an_environment_does_not_depend_on_how_many_others_there_are(name: str) -> None:
    few, many = (gymnasium.make_vec(name, num_envs=n, max_episode_steps=20) for n in (2, 5))
    np.testing.assert_array_equal(few.reset(seed=1)[0], many.reset(seed=1)[0][:2])
    for actions in actions_of(many):
        for mine, its in zip(few.step(actions[:2])[:4], many.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, its[:2])


def first_problems(seed: int | None) -> NDArray[np.float64]:
    testbed: Any = gymnasium.make_vec("fw/KArmedTestbed-v0", num_envs=3)
    testbed.reset(seed=seed)
    return np.array(testbed.q)


def test_seeds_repeat_and_share_nothing() -> None:
    np.testing.assert_array_equal(first_problems(0), first_problems(0))
    # With the streams seed + i, two of the three problems would be the same.
    assert np.intersect1d(first_problems(0), first_problems(1)).size == 0
    assert np.intersect1d(first_problems(None), first_problems(None)).size == 0


def test_a_reset_without_a_seed_goes_on_with_the_streams() -> None:
    testbed: Any = gymnasium.make_vec("fw/KArmedTestbed-v0", num_envs=2)
    testbed.reset(seed=0)
    first = testbed.q
    testbed.reset()
    drawn = [np.random.default_rng(np.random.SeedSequence(0, spawn_key=(i,))).standard_normal(20) for i in range(2)]
    np.testing.assert_array_equal(np.hstack((first, testbed.q)), np.array(drawn))


def arrays_in(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield value
    elif isinstance(value, dict | list | tuple | np.ndarray):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


@pytest.mark.parametrize("name", IDS)
def test_what_was_returned_stays_as_it_is(name: str) -> None:
    environments = gymnasium.make_vec(name, num_envs=3, max_episode_steps=5, autoreset_mode="SameStep")
    returned: list[Any] = [environments.reset(seed=0)]
    returned += [environments.step(actions) for actions in actions_of(environments, 12)]
    kept = copy.deepcopy(returned)
    for actions in actions_of(environments, 12):
        environments.step(actions)
    assert len(list(arrays_in(returned))) > 50  # thirteen observations, twelve times three arrays, infos
    for array, copied in zip(arrays_in(returned), arrays_in(kept), strict=True):
        np.testing.assert_array_equal(array, copied)


@pytest.mark.parametrize("name", IDS)
def test_a_mode_can_be_named_as_in_a_recipe(name: str) -> None:
    assert gymnasium.make_vec(name).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    made = gymnasium.make_vec(name, autoreset_mode="SameStep")
    assert made.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert type(made).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP  # one's choice is not all others'


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs: expected 1 or more, found 0"),
        ({"max_episode_steps": 0}, "max_episode_steps: expected 1 or more, found 0"),
        ({"autoreset_mode": "Disabled"}, 'autoreset_mode: expected "NextStep" or "SameStep", found Disabled'),
    ],
)
def test_an_option_that_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        gymnasium.make_vec(name, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", IDS)
def test_steps_before_a_reset_and_wrong_actions_are_refused(name: str) -> None:
    single, many = gymnasium.make(name).unwrapped, gymnasium.make_vec(name, num_envs=2)
    for step in (lambda: single.step(0), lambda: many.step(np.zeros(2, dtype=np.int64))):
        with pytest.raises(ResetNeeded):
            step()
    for environment in (single, many):
        with pytest.raises(ValueError, match="expected none"):
            environment.reset(options={"low": 0.0})
    single.reset(seed=0)
    many.reset(seed=0)
    with pytest.raises(ValueError, match="found -1"):
        single.step(-1)
    with pytest.raises(ValueError, match="found 99 for environment 1"):
        many.step(np.array([0, 99]))
