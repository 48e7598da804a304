"""The value baseline: its table, its network, what its loss is and where that leads."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor, nn

from framework import OptionError, Samples, Trunk
from framework_plugins.baselines import value
from framework_plugins.baselines.value import Value


class Pair(Trunk):
    """(x, 2x): a trunk that can be computed by hand."""

    features = 2

    def forward(self, observation: Tensor) -> Tensor:
        return torch.cat([observation, 2 * observation], -1)


LINE = Box(-1, 1, (1,))


def samples(observation: Tensor, returns: Tensor | None = None, values: Tensor | None = None) -> Samples:
    nothing = torch.zeros(observation.shape[:2], dtype=torch.float64)
    return Samples(observation, nothing if returns is None else returns, values=values)


def test_a_discrete_observation_has_a_table() -> None:
    baseline = Value(observation_space=Discrete(3, start=5), initial=-2)
    (table,) = baseline.parameters()
    assert table.tolist() == [[-2.0, -2.0, -2.0]]
    with torch.no_grad():
        table.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    assert baseline(samples(torch.tensor([[5, 7], [6, 6], [7, 5]]))).tolist() == [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]


def test_each_replica_has_a_table_of_its_own() -> None:
    baseline = Value(observation_space=Discrete(3), replicas=2)
    (table,) = baseline.parameters()
    with torch.no_grad():
        table.copy_(torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
    given = samples(torch.tensor([[0, 2], [0, 2]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    assert baseline(given).tolist() == [[1.0, 3.0], [10.0, 30.0]]
    baseline.loss(given).sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[1.0, 0.0, 3.0], [10.0, 0.0, 30.0]]
    with pytest.raises(OptionError, match="whose K is the run, found 2, and samples of 1"):
        baseline(samples(torch.tensor([[0, 2]])))


def test_a_network_is_linear_in_its_trunks_features() -> None:
    baseline = Value(observation_space=LINE, trunk=Pair(), initial=0.5).double()
    (head,) = (module for module in baseline.modules() if isinstance(module, nn.Linear))
    assert head.weight.norm().item() == pytest.approx(1.0)  # orthogonal, of gain 1: a row of length 1
    assert head.bias.tolist() == [0.5]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 5.0]]))
    observation = torch.tensor([[[0.0], [1.0]], [[2.0], [-1.0]]], dtype=torch.float64)
    assert baseline(samples(observation)).tolist() == [[0.5, 13.5], [26.5, -12.5]]


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        (Box(-1, 1, (2, 3), np.float32), torch.ones(4, 5, 2, 3)),
        (Box(-1, 1, (2, 3), np.float64), torch.ones(4, 5, 2, 3, dtype=torch.float64)),
        (Box(0, 255, (2, 3), np.uint8), torch.ones(4, 5, 2, 3, dtype=torch.uint8)),
        (MultiDiscrete([2, 3]), torch.ones(4, 5, 2, dtype=torch.int64)),
        (Discrete(3), torch.ones(4, 5, dtype=torch.int64)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_has_the_type_of_its_parameters_whatever_is_observed(
    space: Any, observation: Tensor, dtype: torch.dtype
) -> None:
    found = Value(observation_space=space).to(dtype)(samples(observation))
    assert (found.shape, found.dtype) == ((4, 5), dtype)


def test_its_loss_is_half_the_squared_error() -> None:
    baseline = Value(observation_space=Discrete(2), initial=1.0).double()
    given = samples(torch.tensor([[0, 1, 1]]), torch.tensor([[4.0, 0.0, -1.0]], dtype=torch.float64))
    loss = baseline.loss(given)
    assert loss.tolist() == [[4.5, 0.5, 2.0]]
    loss.sum().backward()
    (table,) = baseline.parameters()
    assert table.grad is not None
    assert table.grad.tolist() == [[-3.0, 3.0]]  # V − G, summed over a state's samples


def test_the_least_loss_is_at_the_mean_return_of_each_state() -> None:
    generator = torch.Generator().manual_seed(0)
    state = torch.randint(0, 4, (8, 50), generator=generator)
    returns = state.square() + torch.randn(8, 50, generator=generator, dtype=torch.float64)
    baseline = Value(observation_space=Discrete(4)).double()
    (table,) = baseline.parameters()
    with torch.no_grad():
        table.copy_(torch.stack([returns[state == one].mean() for one in range(4)]))
    baseline.loss(samples(state, returns)).mean().backward()
    assert table.grad is not None
    assert table.grad.abs().max().item() < 1e-14  # of a convex loss: there is no better table


@pytest.mark.parametrize(
    ("now", "before", "target", "loss", "gradient"),
    [  # c = 0.2; the clipped value is before ± 0.2
        (1.1, 1.0, 2.0, 0.405, -0.9),  # within: as without a clip
        (1.5, 1.0, 2.0, 0.32, 0.0),  # moved far towards the return: no further
        (0.5, 1.0, 2.0, 1.125, -1.5),  # moved far from it: back
        (2.5, 1.0, 2.0, 0.32, 0.0),  # past the return, and nearer than the clipped value
        (3.5, 1.0, 2.0, 1.125, 1.5),  # past the return, and further than it
    ],
)
def test_each_case_of_the_clip(now: float, before: float, target: float, loss: float, gradient: float) -> None:
    baseline = Value(observation_space=Discrete(1), clip=0.2, initial=now).double()
    (table,) = baseline.parameters()
    table.data.fill_(now)  # the constructor's float32, in float64
    returns, values = (torch.tensor([[number]], dtype=torch.float64) for number in (target, before))
    found = baseline.loss(samples(torch.zeros(1, 1, dtype=torch.int64), returns, values))
    found.sum().backward()
    assert found.item() == pytest.approx(loss, rel=1e-12)
    assert table.grad is not None
    assert table.grad.item() == pytest.approx(gradient, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_space": LINE, "clip": 0.0}, "clip: expected a positive number, or null, found 0.0"),
        ({"observation_space": LINE, "replicas": 0}, "replicas: expected 1 or more, found 0"),
        (
            {"observation_space": LINE, "replicas": 3},
            "replicas: expected 1, or a table: discrete observations and no trunk, "
            "found 3 with Box(-1.0, 1.0, (1,), float32)",
        ),
        (
            {"observation_space": Discrete(2), "replicas": 3, "trunk": Pair()},
            "replicas: expected 1, or a table: discrete observations and no trunk, found 3 with a trunk",
        ),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Value(**options)
    assert str(caught.value) == message


def test_a_clip_needs_the_values_from_before() -> None:
    with pytest.raises(OptionError) as caught:
        Value(observation_space=Discrete(1), clip=0.2).loss(samples(torch.zeros(1, 1, dtype=torch.int64)))
    assert str(caught.value) == (
        "clip: expected values to keep near, found samples without the values from when they were drawn; "
        "write clip: null"
    )


def test_it_bootstraps_and_starts_finite() -> None:
    assert Value.bootstraps
    assert math.isfinite(Value(observation_space=LINE)(samples(torch.zeros(1, 1, 1))).item())


def test_the_examples_run() -> None:
    results = doctest.testmod(value)
    assert results.attempted > 0
    assert results.failed == 0
