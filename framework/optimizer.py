"""Optimizer: parameters → steps; a torch optimiser whose learning rate may follow a schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework.errors import OptionError
from framework.registry import Registry
from framework.schedule import Counters, Schedule, lowest, value_at


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

    def gradients(self) -> list[Tensor]:
        """Return the gradients that are there."""
        return [one.grad for group in self.algorithm.param_groups for one in group["params"] if one.grad is not None]

    def forget_gradients(self) -> None:
        """Do what `zero_grad` does, without what torch records of it, which takes a small model a while."""
        for group in self.algorithm.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, counters: Counters, scaler: torch.amp.GradScaler | None = None) -> None:
        """Take one step with the gradients that are there; a scaler leaves it out where they have overflowed."""
        if isinstance(self.lr, Schedule):
            for group in self.algorithm.param_groups:
                group["lr"] = self.lr.value(counters)
        if scaler is None:
            self.algorithm.step()
        else:
            scaler.step(self.algorithm)
            scaler.update()

    def state(self) -> dict[str, Any]:
        """Return the statistics that the algorithm keeps for each parameter, by the parameter's position."""
        return {"algorithm": type(self.algorithm).__name__, "state": self.algorithm.state_dict()["state"]}

    def suits(self, state: dict[str, Any]) -> bool:
        """Return whether statistics are this algorithm's."""
        return bool(state["algorithm"] == type(self.algorithm).__name__)

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the statistics of a checkpoint; settings stay as the recipe has them."""
        self.algorithm.load_state_dict({**self.algorithm.state_dict(), "state": state["state"]})


optimizers: Registry[Optimizer] = Registry("optimizer", Optimizer, context=("parameters",))
register_optimizer = optimizers.register


def initial(lr: float | Schedule) -> float:
    """Return the learning rate that an optimiser is built with.

    Raises:
        OptionError: it is negative, or a schedule makes it so at some step.
    """
    if lowest(lr) < 0:
        raise OptionError("lr", found=f"{lowest(lr):g}", expected="0 or more, at every step")
    return value_at(lr, Counters())
