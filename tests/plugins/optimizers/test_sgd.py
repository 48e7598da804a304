"""Stochastic gradient descent against its formula, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from framework import Counters
from framework_plugins.optimizers.sgd import sgd
from framework_plugins.schedules.ramp import Linear


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov: bool) -> None:
    start, gradients = 2.0, [1.0, -0.5, 0.25]
    weight = nn.Parameter(torch.tensor([start]))
    optimizer = sgd([weight], lr=0.1, momentum=0.5, nesterov=nesterov, weight_decay=0.2)
    expected, velocity = start, 0.0
    for step, gradient in enumerate(gradients):
        weight.grad = torch.tensor([gradient])
        optimizer.step(Counters(optimizer_steps=step))
        decayed = gradient + 0.2 * expected
        velocity = 0.5 * velocity + decayed
        expected -= 0.1 * (decayed + 0.5 * velocity if nesterov else velocity)
    assert weight.item() == pytest.approx(expected, rel=1e-6)  # a few roundings in float32


def test_learning_rate_may_be_a_schedule() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = sgd([weight], lr=Linear(start=1.0, end=0.0, steps=4))
    weight.grad = torch.ones(1)
    optimizer.step(Counters(optimizer_steps=2))
    assert weight.item() == -0.5
