"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from framework import Optimizer, Schedule, initial, register_optimizer


@register_optimizer("adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float | Schedule = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam, fused: one kernel a step.

    Args:
        parameters: what is optimised.
        lr: the learning rate, a number or a schedule.
        betas: decay of the running means of the gradient and of its square, each in [0, 1).
        eps: added to the denominator.
        weight_decay: an L2 penalty's factor, in the gradient.

    Reference: Kingma & Ba, "Adam", 2015, https://arxiv.org/abs/1412.6980.
    """
    algorithm = torch.optim.Adam(
        parameters, lr=initial(lr), betas=betas, eps=eps, weight_decay=weight_decay, fused=True
    )
    return Optimizer(algorithm, lr)


@register_optimizer("adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float | Schedule = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay, fused.

    Args:
        parameters: what is optimised.
        lr: the learning rate, a number or a schedule.
        betas: decay of the running means of the gradient and of its square, each in [0, 1).
        eps: added to the denominator.
        weight_decay: the share of a weight that is taken off it a step, times the learning rate.

    Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, https://arxiv.org/abs/1711.05101.
    """
    algorithm = torch.optim.AdamW(
        parameters, lr=initial(lr), betas=betas, eps=eps, weight_decay=weight_decay, fused=True
    )
    return Optimizer(algorithm, lr)
