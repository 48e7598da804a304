"""The best action mostly, any action sometimes."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import Tensor

from framework import ActionValues, OptionError
from framework_plugins.policies import epsilon_greedy
from framework_plugins.policies.epsilon_greedy import EpsilonGreedy


def probs(values: Tensor, epsilon: float) -> Tensor:
    return EpsilonGreedy(epsilon=epsilon)(ActionValues(values, torch.ones_like(values))).probs


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("batch", [(), (50,), (5, 10)], ids=str)
def test_it_is_the_books_rule(batch: tuple[int, ...], epsilon: float) -> None:
    # few different values, so that there are ties
    values = torch.randint(-2, 2, (*batch, 6), generator=torch.Generator().manual_seed(0)).double()
    before = values.clone()
    found = probs(values, epsilon)
    for row, one in zip(values.reshape(-1, 6).tolist(), found.reshape(-1, 6).tolist(), strict=True):
        best = [value == max(row) for value in row]
        expected = [(1 - epsilon) * is_best / sum(best) + epsilon / 6 for is_best in best]
        assert one == pytest.approx(expected, abs=1e-12)  # float64
    assert torch.equal(values, before)


def test_ties_are_broken_at_random() -> None:
    torch.manual_seed(0)
    values = torch.tensor([1.0, 0.0, 1.0]).expand(10_000, 3)
    action = EpsilonGreedy(epsilon=0.0)(ActionValues(values, values)).sample()
    count = action.bincount(minlength=3)
    assert count[1] == 0
    assert abs(count[0].item() - 5000) < 4 * 50  # four standard deviations, √(10000/4) = 50


@pytest.mark.parametrize("batch", [(20_000,), (100, 200)], ids=str)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("tie", [False, True])  # draws come otherwise about where there is one anywhere
def test_what_is_drawn_has_the_probabilities(tie: bool, epsilon: float, batch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.randn(*batch, 4).argsort(-1).float()  # an order of its own in each row
    if tie:
        values.view(-1, 4)[0] = 0.0
    policy = EpsilonGreedy(epsilon=epsilon)(ActionValues(values, values))
    action = policy.sample()
    assert action.shape == batch
    assert action.dtype == torch.int64
    # by what each action's value ranks, of which π is a function, in all rows but the first
    rank = values.gather(-1, action[..., None]).flatten()[1:].long()
    expected = torch.tensor([epsilon / 4] * 3 + [1 - 0.75 * epsilon])
    deviation = (expected * (1 - expected) / len(rank)).sqrt()
    assert ((rank.bincount(minlength=4) / len(rank) - expected).abs() <= 4 * deviation + 1e-6).all()


@pytest.mark.parametrize("size", [(), (3,)], ids=str)
def test_a_single_state(size: tuple[int, ...]) -> None:
    values = torch.tensor([0.0, 2.0, 1.0])
    policy = EpsilonGreedy(epsilon=0.0)(ActionValues(values, values))
    values[0] = 9.0  # what is learned later does not change it
    assert policy.sample(size).tolist() == torch.ones(size).tolist()
    assert policy.mode == 1
    assert policy.log_prob(torch.tensor(1)) == 0.0


def test_what_is_not_allowed_is_not_taken() -> None:
    values = torch.tensor([[1.0, -torch.inf, 0.0, -torch.inf], [-torch.inf] * 4])
    expected = torch.tensor([[0.95, 0.0, 0.05, 0.0], [0.25] * 4])  # where none is allowed nothing is decided
    torch.testing.assert_close(probs(values, 0.1), expected)
    torch.testing.assert_close(probs(values, 0.0), torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4]))


@pytest.mark.parametrize("epsilon", [-0.1, 1.1])
def test_no_share(epsilon: float) -> None:
    with pytest.raises(OptionError, match=rf"^epsilon: expected a share in \[0, 1\], found {epsilon}$"):
        EpsilonGreedy(epsilon=epsilon)


def test_the_examples_run() -> None:
    results = doctest.testmod(epsilon_greedy, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0
