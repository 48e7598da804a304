"""The optimiser's learning rate follows its schedule, and its statistics can be saved and taken up."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from framework import Counters, Optimizer, initial
from framework_plugins.schedules.ramp import Linear


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, -2.0]))


def test_initial_learning_rate() -> None:
    assert initial(0.1) == 0.1
    assert initial(Linear(start=0.3, end=0.0, steps=10)) == 0.3


def test_learning_rate_is_that_of_the_counters_at_each_step() -> None:
    weight = parameter()
    schedule = Linear(start=0.0, end=1.0, steps=4)
    optimizer = Optimizer(torch.optim.SGD([weight], lr=initial(schedule)), schedule)
    positions = []
    for step in (0, 2, 4, 9):
        weight.grad = torch.ones(2)
        optimizer.step(Counters(optimizer_steps=step))
        positions.append(weight[0].item())
    assert positions == [1.0, 0.5, -0.5, -1.5]  # less 0, ½, 1 and 1


def test_every_group_follows_the_schedule() -> None:
    weights = [parameter(), parameter()]
    schedule = Linear(start=0.0, end=1.0, steps=2)
    optimizer = Optimizer(torch.optim.SGD([{"params": [weight]} for weight in weights], lr=0.0), schedule)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step(Counters(optimizer_steps=1))
    assert [weight[0].item() for weight in weights] == [0.5, 0.5]


@pytest.mark.parametrize("fused", [False, True])
def test_a_restored_optimiser_goes_on_exactly_with_its_recipes_settings(fused: bool) -> None:
    def train(weight: nn.Parameter, optimizer: Optimizer, steps: range) -> None:
        for step in steps:
            weight.grad = torch.sin(weight.detach() * (step + 1))
            optimizer.step(Counters(optimizer_steps=step))

    def adam(weight: nn.Parameter, lr: float) -> Optimizer:
        return Optimizer(torch.optim.Adam([weight], lr=lr, fused=fused), lr)

    unbroken = parameter()
    train(unbroken, adam(unbroken, 0.1), range(6))
    first = parameter()
    optimizer = adam(first, 0.1)
    train(first, optimizer, range(3))
    state = copy.deepcopy(optimizer.state())
    second = nn.Parameter(first.detach().clone())
    resumed = adam(second, 0.1)
    resumed.restore(state)
    train(second, resumed, range(3, 6))
    assert torch.equal(second, unbroken)
    other = adam(second, 0.5)
    other.restore(state)
    assert other.algorithm.param_groups[0]["lr"] == 0.5
    assert other.suits(state)
    assert not Optimizer(torch.optim.SGD([second], lr=0.1), 0.1).suits(state)
