"""Adam and AdamW against their papers' formulas, written out.

Tolerance: 1e-6 relative in float32, a few roundings of a step.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from framework import Counters, Optimizer
from framework_plugins.optimizers.adam import adam, adamw

LR, BETAS, EPS = 0.1, (0.8, 0.9), 1e-4


def written_out(weight: Tensor, gradients: list[Tensor], *, l2: float, decoupled: float) -> Tensor:
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        gradient = gradient + l2 * weight
        weight = weight - LR * decoupled * weight
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        corrected = (square / (1 - BETAS[1] ** t)).sqrt() + EPS
        weight = weight - LR * mean / (1 - BETAS[0] ** t) / corrected
    return weight


@pytest.mark.parametrize(
    ("make", "l2", "decoupled"), [(adam, 0.0, 0.0), (adam, 0.3, 0.0), (adamw, 0.0, 0.0), (adamw, 0.0, 0.3)]
)
def test_steps_are_the_papers(make: Callable[..., Optimizer], l2: float, decoupled: float) -> None:
    start = torch.tensor([1.0, -2.0, 0.5])
    gradients = list(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    weight = nn.Parameter(start.clone())
    optimizer = make([weight], lr=LR, betas=BETAS, eps=EPS, weight_decay=l2 + decoupled)
    for step, gradient in enumerate(gradients):
        weight.grad = gradient.clone()
        optimizer.step(Counters(optimizer_steps=step))
    expected = written_out(start, gradients, l2=l2, decoupled=decoupled)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [adam, adamw])
def test_they_are_fused(make: Callable[..., Optimizer]) -> None:
    assert make([nn.Parameter(torch.zeros(1))]).algorithm.defaults["fused"] is True
