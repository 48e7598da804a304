"""Optimizer: parameters → steps; a torch optimiser whose learning rate may follow a schedule."""

from __future__ import annotations

from typing import Any

import torch

from framework.registry import Registry
from framework.schedule import Counters, Schedule, value_at


class Optimizer:
    """A torch optimiser and its learning rate.

    The learning rate is set from the counters before each step and is not part of the saved state: a resumed run takes
    it, and every other setting, from its recipe.

    Args:
        algorithm: the torch optimiser; fused where torch has it, because a small model's step is mostly overhead.
        lr: the learning rate, or a schedule of it.
    """

    def __init__(self, algorithm: torch.optim.Optimizer, lr: float | Schedule) -> None:
        self.algorithm = algorithm
        self.lr = lr

    def step(self, counters: Counters) -> None:
        """Take one step with the gradients that are there."""
        if isinstance(self.lr, Schedule):
            for group in self.algorithm.param_groups:
                group["lr"] = self.lr.value(counters)
        self.algorithm.step()

    def state(self) -> dict[int, Any]:
        """Return the statistics that the algorithm keeps for each parameter, by the parameter's position."""
        state: dict[int, Any] = self.algorithm.state_dict()["state"]
        return state

    def restore(self, state: dict[int, Any]) -> None:
        """Take up the statistics of a checkpoint; settings stay as the recipe has them."""
        self.algorithm.load_state_dict({**self.algorithm.state_dict(), "state": state})


optimizers: Registry[Optimizer] = Registry("optimizer", Optimizer, context=("parameters",))
register_optimizer = optimizers.register


def initial(lr: float | Schedule) -> float:
    """Return the learning rate that an optimiser is built with."""
    return value_at(lr, Counters())
