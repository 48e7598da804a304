"""The `trainer` section of a recipe: for how long, where, and what happens on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from framework.errors import OptionError
from framework.section import Section

LIMITS = ("max_epochs", "max_steps", "max_env_steps", "max_episodes", "max_time")
OF_EXAMPLES = ("max_epochs", "microbatch")  # limits and settings that mean nothing without a data set
OF_ENVIRONMENTS = ("max_env_steps", "max_episodes")
_COUNTS = (
    "max_epochs",
    "max_steps",
    "max_env_steps",
    "max_episodes",
    "devices",
    "num_nodes",
    "microbatch",
    "validate_every",
    "checkpoint_every",
    "log_every",
    "early_stopping",
)


@dataclass(frozen=True, kw_only=True)
class Trainer(Section):
    """How a learner is trained. Short and closed: it is no tunnel to Lightning's arguments.

    Training ends at the first of the limits that is reached; at least one must be set.

    Args:
        max_epochs: passes over the training set.
        max_steps: optimiser steps.
        max_env_steps: steps in environments, all together; the rollout that reaches them is learnt from to its end.
        max_episodes: episodes in environments, likewise.
        max_time: minutes of training, over all resumptions.
        accelerator: what to train on; `auto` takes a GPU where there is one.
        devices: how many of them on each node, a process each: the same model is trained on one or many. `auto` takes
            all GPUs, or one process on the CPU; under torchrun or srun, as many as they started.
        num_nodes: machines; more than one are started by torchrun or srun.
        strategy: how several processes share the work. `ddp` holds the whole model in each.
        precision: 32; 64 (double); bf16-mixed or 16-mixed: networks in half precision, weights and all that is computed
            from the networks' outputs in float32. Evaluation is in full precision always.
        microbatch: examples that go through the networks at a time, a divisor of each process's part of the batch, or
            null for all of it: the same step in less memory. Not with parts that compare examples with each other.
        gradient_clip: the largest norm that the gradient of one optimiser keeps, or null.
        validate_every: epochs between two validations; the last epoch always ends with one.
        checkpoint_every: optimiser steps between two checkpoints, besides the one at each epoch's end, or null.
        log_every: optimiser steps that one training record is the mean of.
        early_stopping: validations without a better objective (or return) after which training ends, or null.
        weights: what the final numbers are of, the `last` weights or those of the `best` validation; with
            early_stopping, always those.

    Raises:
        OptionError: a number is out of range, or no limit is set.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    max_env_steps: int | None = None
    max_episodes: int | None = None
    max_time: float | None = None
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    precision: Literal[32, 64, "bf16-mixed", "16-mixed"] = 32
    microbatch: int | None = None
    gradient_clip: float | None = None
    validate_every: int = 1
    checkpoint_every: int | None = None
    log_every: int = 50
    early_stopping: int | None = None
    weights: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        if all(getattr(self, limit) is None for limit in LIMITS):
            expected = f"one of {', '.join(LIMITS)}"
            raise OptionError("max_epochs", found="no limit", expected=expected, write="max_steps: 10000")
        for option in _COUNTS:
            number = getattr(self, option)
            if isinstance(number, int) and number < 1:
                raise OptionError(option, found=number, expected="1 or more")
        for option in ("max_time", "gradient_clip"):
            number = getattr(self, option)
            if number is not None and number <= 0:
                raise OptionError(option, found=number, expected="a number above 0")
        if self.strategy == "fsdp":
            raise OptionError(
                "strategy",
                found="fsdp, which shards weights that are too large for one device",
                expected="ddp: each process holds the whole model; sharded weights are not built",
                write="strategy: ddp",
            )

    @property
    def keeps_best(self) -> bool:
        """Whether the final numbers are of the best weights, and not of the last."""
        return self.weights == "best" or self.early_stopping is not None

    @property
    def on_gpu(self) -> bool:
        """Whether training is on a GPU: asked for, or there."""
        return self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())

    @property
    def processes(self) -> int:
        """Processes on each node, when nobody has started them yet."""
        if self.devices != "auto":
            return self.devices
        return max(1, torch.cuda.device_count()) if self.on_gpu else 1
