"""The action that might be the best."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framework import ActionValues, OptionError
from framework_plugins.policies.upper_confidence_bound import UpperConfidenceBound


def probs(values: Tensor, counts: Tensor, c: float = 2.0) -> Tensor:
    return UpperConfidenceBound(c=c)(ActionValues(values, counts)).probs


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64], ids=str)
@pytest.mark.parametrize("c", [0.1, 2.0, 1e6])
@pytest.mark.parametrize("batch", [(), (50,), (5, 10)], ids=str)
def test_it_is_the_books_rule(batch: tuple[int, ...], c: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(*batch, 5, generator=generator, dtype=torch.float64)
    counts = torch.randint(0, 4, (*batch, 5), generator=generator).to(dtype)
    before = values.clone(), counts.clone()
    found = probs(values, counts, c)
    rows = zip(values.reshape(-1, 5).tolist(), counts.reshape(-1, 5).tolist(), found.reshape(-1, 5), strict=True)
    for q, n, one in rows:
        untried = [number == 0 for number in n]
        step = sum(n) + 1
        bounds = [
            math.inf if not number else value + c * math.sqrt(math.log(step) / number)
            for value, number in zip(q, n, strict=True)
        ]
        expected = untried if any(untried) else [bound == max(bounds) for bound in bounds]
        assert one.tolist() == pytest.approx([one / sum(expected) for one in expected], abs=1e-12)
    assert torch.equal(values, before[0])
    assert torch.equal(counts, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("c", [1e-6, 2.0, 1e6])
def test_in_the_first_step_all_actions_are_alike(c: float, dtype: torch.dtype) -> None:
    values = torch.tensor([5.0, 0.0, -5.0], dtype=dtype)  # optimistic values do not matter yet
    assert probs(values, torch.zeros(3), c).tolist() == pytest.approx([1 / 3] * 3)


def test_what_is_not_allowed_is_not_taken() -> None:
    values = torch.tensor([[0.0, -torch.inf, -torch.inf, 1.0]])
    assert probs(values, torch.tensor([[9, 0, 5, 9]])).tolist() == [[0, 0, 0, 1]]
    assert probs(values, torch.tensor([[0, 0, 0, 0]])).tolist() == [[0.5, 0, 0, 0.5]]


@pytest.mark.parametrize(
    ("c", "rest"), [(0.0, "0.0; write policy: {name: epsilon_greedy, epsilon: 0}"), (-1.0, "-1.0")]
)
def test_no_doubt(c: float, rest: str) -> None:
    with pytest.raises(OptionError) as raised:
        UpperConfidenceBound(c=c)
    assert str(raised.value) == f"c: expected a positive number, found {rest}"
