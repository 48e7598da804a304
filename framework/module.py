"""The one LightningModule: it runs any learner, keeps the counters, and says when to record, validate and save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from framework.data import Dataset, Split, TrainingBatches, evaluation_batches
from framework.errors import NonFiniteError
from framework.learner import Learner
from framework.optimizer import Optimizer
from framework.randomness import Keys
from framework.schedule import Counters
from framework.trainer import Trainer

Record = dict[str, Any]


@dataclass
class Position:
    """How far a run has come: what, with the weights and the optimisers, makes it go on exactly.

    Args:
        counters: ours, never Lightning's.
        step_in_epoch: minibatches of the current epoch that are done.
        best: the lowest validation objective so far, nats.
        validations_since_best: how many came after it.
        seconds: time spent training, over all resumptions.
        window: sums of the training metrics since the last record, by name.
        window_steps: optimiser steps in it.
        window_seconds: time spent in them.
    """

    counters: Counters = field(default_factory=Counters)
    step_in_epoch: int = 0
    best: float = math.inf
    validations_since_best: int = 0
    seconds: float = 0.0
    window: dict[str, Tensor] = field(default_factory=dict)
    window_steps: int = 0
    window_seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        return {**asdict(self), "window": dict(self.window)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        return cls(**{**state, "counters": Counters(**state["counters"])})


class Module(LightningModule):
    """Runs a learner. Lightning owns processes, devices, precision and the loop; what happens in a step is here.

    Args:
        learner: what is trained.
        dataset: what on.
        batch_size: examples in a minibatch.
        trainer: for how long, and what happens on the way.
        seed: the run's seed.
        position: where to go on from.
        optimizer_states: the optimisers' states to go on from, by name; none for a new run.
        record: takes each record of metrics.
        save: called when a checkpoint is due, with whether the validation objective is the best so far.
        stopping: whether somebody has asked for the end.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        dataset: Dataset,
        batch_size: int,
        trainer: Trainer,
        seed: int,
        position: Position,
        optimizer_states: Mapping[str, dict[str, Any]],
        record: Callable[[Record], None],
        save: Callable[[bool], None],
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner = learner
        self.dataset, self.batch_size, self.limits, self.seed = dataset, batch_size, trainer, seed
        self.position = position
        self._optimizer_states = optimizer_states
        self._record, self._save, self._stopping = record, save, stopping
        self.named_optimizers: dict[str, Optimizer] = {}
        self.batches = TrainingBatches(
            size=len(dataset.train),
            batch_size=batch_size,
            seed=seed,
            position=lambda: (self.position.counters.epoch, self.position.step_in_epoch),
        )
        self._clock = 0.0
        self._saved_step = position.counters.optimizer_steps

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.named_optimizers = self.learner.optimizers()
        for name, state in self._optimizer_states.items():
            self.named_optimizers[name].restore(state)
        return [optimizer.algorithm for optimizer in self.named_optimizers.values()]

    def on_fit_start(self) -> None:
        data = self.dataset
        train, validation, test = (_on(split, self.device) for split in (data.train, data.validation, data.test))
        self.dataset = replace(data, train=train, validation=validation, test=test)

    def on_train_start(self) -> None:
        self._clock = time.perf_counter()

    def training_step(self, chunk: tuple[Tensor, ...], batch_index: int) -> None:
        for rows in chunk:
            self._minibatch(rows)
            if self._after_step():
                self.trainer.should_stop = True
                return

    @torch.no_grad()
    def evaluate(self, name: str) -> dict[str, float]:
        """Return the metrics of a whole split, means over its examples at the schedules' final weights.

        Batches are all of about the training's size, because a divergence between examples depends on how many there
        are; and they are shuffled, always alike, because neighbours in a file may be alike (MNIST's are often by one
        writer).
        """
        split: Split = getattr(self.dataset, name)
        self.learner.eval()
        sums: dict[str, Tensor] = {}
        for index, rows in enumerate(evaluation_batches(len(split), self.batch_size)):
            keys = Keys(self.seed, name, index)
            # The data are on the device after training, and on the CPU where a resumed run had none left to do.
            examples = split.examples(rows.to(split.inputs.device), keys).to(self.device)
            for metric, value in self.learner.evaluate(examples, keys).items():
                sums[metric] = sums.get(metric, 0.0) + value.double() * len(examples)
        self.learner.train()
        means = {metric: float(total / len(split)) for metric, total in sums.items()}
        for metric, mean in means.items():
            if not math.isfinite(mean):
                raise NonFiniteError(f"{name}/{metric} is {mean} after {self.position.counters.optimizer_steps} steps")
        return means

    def save_if_behind(self) -> None:
        """Save a checkpoint where steps were taken since the last one."""
        if self._saved_step != self.position.counters.optimizer_steps:
            self._save_checkpoint(False)

    def test(self) -> None:
        """Record the test metrics."""
        self._emit("test", self.evaluate("test"))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: weights, optimisers and position."""
        return {
            "learner": self.learner.state_dict(),
            "optimizers": {name: optimizer.state() for name, optimizer in self.named_optimizers.items()},
            "position": self.position.state(),
        }

    def _minibatch(self, rows: Tensor) -> None:
        position = self.position
        counters = position.counters
        keys = Keys(self.seed, "train", counters.optimizer_steps)
        batch = self.dataset.train.examples(rows, keys)
        for loss in self.learner.losses(batch, counters, keys):
            optimizer = self.named_optimizers[loss.optimizer]
            optimizer.algorithm.zero_grad()
            self.manual_backward(loss.value)
            self._check_and_clip(loss.value, optimizer)
            optimizer.step(counters)
            for name, value in loss.metrics.items():
                position.window[name] = position.window[name] + value if name in position.window else value
        position.window_steps += 1
        position.step_in_epoch += 1
        position.counters = replace(
            counters,
            optimizer_steps=counters.optimizer_steps + 1,
            samples=counters.samples + len(rows),
            epoch=counters.epoch + (position.step_in_epoch == self.batches.steps_per_epoch),
        )

    def _check_and_clip(self, loss: Tensor, optimizer: Optimizer) -> None:
        gradients = [
            parameter.grad
            for group in optimizer.algorithm.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        # One number, so that a GPU is waited for once; not finite when the loss or any gradient is not. The sum of a
        # gradient costs half of its norm.
        if not math.isfinite(float(sum((gradient.sum() for gradient in gradients), start=loss.detach()))):
            raise NonFiniteError(
                f"optimiser step {self.position.counters.optimizer_steps + 1}: the loss is {float(loss.detach())}, "
                f"the norm of its gradient {float(get_total_norm(gradients))}; the weights are those before this step. "
                "A smaller learning rate or trainer.gradient_clip may help"
            )
        if self.limits.gradient_clip is not None:
            parameters = [parameter for group in optimizer.algorithm.param_groups for parameter in group["params"]]
            clip_grads_with_norm_(parameters, self.limits.gradient_clip, get_total_norm(gradients))

    def _after_step(self) -> bool:
        """Record, validate and save what is due after an optimiser step; return whether training ends here."""
        position, limits = self.position, self.limits
        step = position.counters.optimizer_steps
        self._take_time()
        epoch_ends = position.step_in_epoch == self.batches.steps_per_epoch
        finished, stopping = self.is_finished(), self._stopping()
        if finished or epoch_ends or step % limits.log_every == 0:
            self._flush_window()
        if epoch_ends:
            position.step_in_epoch = 0
        if finished or (epoch_ends and position.counters.epoch % limits.validate_every == 0):
            best = self._validate()
            finished = self.is_finished()
            self._save_checkpoint(best)
        elif epoch_ends or stopping or (limits.checkpoint_every and step % limits.checkpoint_every == 0):
            self._save_checkpoint(False)
        return finished or stopping

    def is_finished(self) -> bool:
        """Return whether one of the trainer's limits has been reached, or its patience is at an end."""
        counters, limits, patience = self.position.counters, self.limits, self.limits.early_stopping
        return bool(
            (patience and self.position.validations_since_best >= patience)
            or (limits.max_epochs and counters.epoch >= limits.max_epochs)
            or (limits.max_steps and counters.optimizer_steps >= limits.max_steps)
            or (limits.max_time and self.position.seconds >= 60 * limits.max_time)
        )

    def _save_checkpoint(self, best: bool) -> None:
        for name, parameter in self.learner.named_parameters():
            if not torch.isfinite(parameter).all():
                steps = self.position.counters.optimizer_steps
                raise NonFiniteError(f"the weights {name} are not finite after {steps} steps; they were not saved")
        self._save(best)
        self._saved_step = self.position.counters.optimizer_steps
        self._clock = time.perf_counter()  # neither saving nor validating counts as training

    def _validate(self) -> bool:
        """Record the validation metrics; return whether their objective is the best so far."""
        metrics = self.evaluate("validation")
        self._emit("validation", metrics)
        self._clock = time.perf_counter()
        better = metrics["objective"] < self.position.best
        self.position.best = min(self.position.best, metrics["objective"])
        self.position.validations_since_best = 0 if better else self.position.validations_since_best + 1
        return better

    def _flush_window(self) -> None:
        position = self.position
        if not position.window_steps:
            return
        metrics = {name: float(total) / position.window_steps for name, total in position.window.items()}
        rate = position.window_steps * self.batch_size / max(position.window_seconds, 1e-9)
        position.window, position.window_steps, position.window_seconds = {}, 0, 0.0
        self._emit("train", metrics, {"throughput/examples_per_second": rate})

    def _emit(self, split: str, metrics: Mapping[str, float], others: Mapping[str, float] | None = None) -> None:
        counters = self.position.counters
        self._record(
            {
                "step": counters.optimizer_steps,
                "epoch": counters.epoch,
                "samples": counters.samples,
                "split": split,
                **{f"{split}/{name}": value for name, value in metrics.items()},
                **(others or {}),
            }
        )

    def _take_time(self) -> None:
        now = time.perf_counter()
        self.position.seconds += now - self._clock
        self.position.window_seconds += now - self._clock
        self._clock = now


def _on(split: Split, device: torch.device) -> Split:
    labels = None if split.labels is None else split.labels.to(device)
    return replace(split, inputs=split.inputs.to(device), labels=labels)
