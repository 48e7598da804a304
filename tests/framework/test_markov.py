"""Finite processes: the corridor's and gymnasium's tables against what their environments do, and every refusal."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import pytest
import torch
from torch import Tensor

from framework import OptionError
from framework.markov import FiniteMDP, checked_policy, from_gymnasium, short_corridor

TABLES = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v3")


def test_the_short_corridor_is_the_books() -> None:
    mdp = short_corridor()
    assert (mdp.states, mdp.actions, mdp.discount) == (3, 2, 1.0)
    following = mdp.transitions.argmax(2).masked_fill(mdp.termination > 0, 3)
    assert following.tolist() == [[0, 1], [2, 0], [1, 3]]  # the second state is reversed
    assert mdp.rewards.tolist() == [[-1.0, -1.0]] * 3  # the last step costs 1 too
    assert mdp.start.tolist() == [1.0, 0.0, 0.0]
    assert short_corridor(discount=0.9).discount == 0.9


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_environment_does(name: str) -> None:
    """3,000 random steps: none has a probability of 0, and rewards and ends are those of the table."""
    env = gymnasium.make(name).unwrapped
    mdp = from_gymnasium(env, discount=1.0)
    assert (mdp.states, mdp.actions) == (env.observation_space.n, env.action_space.n)
    env.action_space.seed(0)
    state, _ = env.reset(seed=0)
    seen = torch.zeros(mdp.states)
    assert mdp.start[state] > 0
    for _ in range(3000):
        action = env.action_space.sample()
        following, reward, terminated, _, _ = env.step(action)
        share = mdp.termination[state, action] if terminated else mdp.transitions[state, action, following]
        assert share > 0
        expected = mdp.rewards[state, action].item()
        if name.startswith("FrozenLake"):  # where the reward is left to chance
            assert (reward > 0) <= (expected > 0)
        else:
            assert reward == expected
        seen[following] += 1
        state = env.reset()[0] if terminated else following
    assert (seen > 0).sum() > 5
    env.close()


def test_the_slippery_lake_expects_its_reward_and_adds_what_is_listed_twice() -> None:
    mdp = from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=0.5)
    assert mdp.discount == 0.5
    assert mdp.transitions[0, 0, 0].item() == pytest.approx(2 / 3)  # up and left, both into a wall
    assert mdp.transitions[0, 0, 4].item() == pytest.approx(1 / 3)
    assert mdp.rewards[14, 2].item() == pytest.approx(1 / 3)  # right, beside the goal
    assert mdp.termination[14, 2].item() == pytest.approx(1 / 3)
    assert mdp.rewards.count_nonzero() == 3  # from 14: down, right, up
    assert mdp.termination[5].tolist() == [1.0] * 4  # a hole


def test_a_taxi_passes_through_states_that_it_also_ends_in() -> None:
    mdp = from_gymnasium(gymnasium.make("Taxi-v3"), discount=1.0)
    assert mdp.termination.count_nonzero() == 4
    assert mdp.rewards[mdp.termination > 0].tolist() == [20.0] * 4
    assert mdp.start.count_nonzero() == 300


class Bare(gymnasium.Env[int, int]):
    """A table and nothing else."""

    P: ClassVar = {0: {0: [(1.0, 1, 2.0, False)]}, 1: {0: [(0.5, 0, 4.0, True), (0.5, 1, 1.0, False)]}}


def test_the_start_can_be_given() -> None:
    start = torch.tensor([0.25, 0.75], dtype=torch.float64)
    mdp = from_gymnasium(Bare(), discount=0.5, start=start)
    assert mdp.start is start
    assert mdp.transitions.tolist() == [[[0.0, 1.0]], [[0.0, 0.5]]]
    assert mdp.termination.tolist() == [[0.0], [0.5]]
    assert mdp.rewards.tolist() == [[2.0], [2.5]]
    given = from_gymnasium(gymnasium.make("CliffWalking-v1"), discount=1.0, start=torch.eye(48).double()[3])
    assert given.start.argmax() == 3


def test_an_environment_without_a_table_or_a_start_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        from_gymnasium(gymnasium.make("CartPole-v1"), discount=1.0)
    assert str(caught.value) == (
        "env: expected an environment with a table of transitions in env.unwrapped.P, found "
        "<TimeLimit<OrderEnforcing<PassiveEnvChecker<CartPoleEnv<CartPole-v1>>>>>; "
        "write one like FrozenLake-v1, CliffWalking-v1 or Taxi-v3"
    )
    with pytest.raises(OptionError) as caught:
        from_gymnasium(Bare(), discount=1.0)
    assert str(caught.value) == (
        "start: expected [S] probabilities of the first state, found None, and the environment has no "
        "initial_state_distrib; write start=..., of 2 probabilities"
    )


def doubles(*numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


GOOD: dict[str, Any] = {
    "transitions": doubles([[0.5, 0.5]], [[0.25, 0.0]]),
    "termination": doubles([0.0], [0.75]),
    "rewards": doubles([1.0], [2.0]),
    "start": doubles(1.0, 0.0),
    "discount": 1.0,
}
WRONG = [
    ("transitions", torch.zeros(2, 2), "[S, A, S], a state and an action or more, found [2, 2]"),
    ("transitions", torch.zeros(2, 1, 3), "[S, A, S], a state and an action or more, found [2, 1, 3]"),
    ("transitions", torch.zeros(2, 0, 2), "[S, A, S], a state and an action or more, found [2, 0, 2]"),
    ("transitions", GOOD["transitions"].float(), "torch.float64, found torch.float32; write transitions.double()"),
    ("transitions", doubles([[1.5, -0.5]], [[0.25, 0.0]]), "probabilities, none below 0, found -0.5"),
    ("transitions", doubles([[0.5, torch.nan]], [[0.25, 0.0]]), "probabilities, none below 0, found nan"),
    (
        "transitions",
        doubles([[0.5, 0.5]], [[0.0, 0.0]]),
        "the probabilities of a step's next states and of its end to sum to 1, found a sum of 0.75 in state 1 for "
        "action 0; write the missing probability into termination, if the episode ends there",
    ),
    ("termination", doubles(0.0, 0.75), "the shape [2, 1], found [2]"),
    ("rewards", doubles([1.0, 2.0]), "the shape [2, 1], found [1, 2]"),
    ("rewards", torch.ones(2, 1), "torch.float64, found torch.float32; write rewards.double()"),
    ("rewards", doubles([1.0], [torch.inf]), "finite numbers, found one that is not"),
    ("start", doubles([1.0, 0.0]), "the shape [2], found [1, 2]"),
    ("start", doubles(0.5, 0.25), "a sum of 1, found a sum of 0.75"),
    ("start", doubles(1.5, -0.5), "probabilities, none below 0, found -0.5"),
    ("discount", 1.5, "a number in [0, 1], found 1.5"),
    ("discount", float("nan"), "a number in [0, 1], found nan"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_what_is_no_process_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        FiniteMDP(**{**GOOD, name: value})
    assert str(caught.value) == f"{name}: expected {message}"


def test_a_policy_is_returned_in_float64_and_a_gradient_passes() -> None:
    assert FiniteMDP(**GOOD).states == 2
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    policy = logits.softmax(1)
    checked = checked_policy(short_corridor(), policy)
    assert checked.dtype == torch.float64
    assert checked.requires_grad
    assert torch.equal(checked.float(), policy)


ROWS = "probabilities, none below 0, that sum to 1 in each state"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (torch.full((2, 2), 0.5), "[S, A], [3, 2], found [2, 2]"),
        (torch.full((3, 2), 0.6), f"{ROWS}, found a sum of 1.2 in state 0"),
        (torch.tensor([[0.5, 0.5], [1.25, -0.25], [0.5, 0.5]]), f"{ROWS}, found -0.25 in state 1"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.5], [torch.nan, 1.0]]), f"{ROWS}, found a sum of nan in state 2"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Tensor, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        checked_policy(short_corridor(), policy)
    assert str(caught.value) == f"policy: expected {message}"
