"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from framework import Optimizer, Schedule, initial, register_optimizer


@register_optimizer("sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float | Schedule,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Stochastic gradient descent with momentum, fused.

    Args:
        parameters: what is optimised.
        lr: the learning rate, a number or a schedule.
        momentum: the share of the last step that is kept, in [0, 1).
        nesterov: whether the gradient is looked at after that share.
        weight_decay: an L2 penalty's factor, in the gradient.
    """
    algorithm = torch.optim.SGD(
        parameters, lr=initial(lr), momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )
    return Optimizer(algorithm, lr)
