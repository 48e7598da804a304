"""The one LightningModule: it runs any learner, keeps the counters, and says when to record, validate and save."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.nn.utils import get_total_norm

from framework.distributed import rank, sum_over_ranks, world_size
from framework.errors import NonFiniteError
from framework.experience import Experience, Progress
from framework.learner import Learner, Loss
from framework.optimizer import Optimizer
from framework.position import Position
from framework.randomness import Keys
from framework.schedule import Counters
from framework.share import WHOLE, Share
from framework.signals import StopRequest
from framework.trainer import Trainer

Record = dict[str, Any]

BETWEEN_SAVES = 60.0  # seconds, of what has no epochs to save at the end of
BETWEEN_MEETINGS = 0.25  # seconds that several processes go on without asking each other whether to stop


class Module(LightningModule):
    """Runs a learner. Lightning owns processes, devices, precision and the loop; what happens in a step is here.

    Args:
        learner: what is trained.
        experience: what on.
        trainer: for how long, and what happens on the way.
        seed: the run's seed.
        position: where to go on from.
        optimizer_states: the optimisers' states to go on from, by name; none for a new run.
        record: takes each record of metrics.
        save: called when a checkpoint is due, with whether the validation objective is the best so far.
        stop: whether somebody has asked this process for the end.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        experience: Experience,
        trainer: Trainer,
        seed: int,
        position: Position,
        optimizer_states: Mapping[str, dict[str, Any]],
        record: Callable[[Record], None],
        save: Callable[[bool], None],
        stop: StopRequest,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner = learner
        self.experience, self.limits, self.seed = experience, trainer, seed
        self.position = position
        self._optimizer_states = optimizer_states
        self._scalers: dict[str, torch.amp.GradScaler] = {}  # of the losses in 16-mixed precision, by optimiser
        self._record, self._save, self._stop = record, save, stop
        self.named_optimizers: dict[str, Optimizer] = {}
        self._clock = 0.0
        self._time_is_up, self._stopping = position.has_run_out(trainer), False
        self._alone = world_size() == 1
        self._own_window: dict[str, Tensor] = {}  # sums of the metrics since the processes met
        self._seconds = 0.0  # of training since then
        self._last_meeting = self._next_meeting = position.counters.optimizer_steps
        self._saved_step = position.counters.optimizer_steps
        self._judged_step = -1
        self._saved_at = time.perf_counter()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.named_optimizers = self.learner.optimizers()
        for name, state in self._optimizer_states.items():
            self.named_optimizers[name].restore(state)
        if self.limits.precision == "16-mixed":
            self._scalers = {name: torch.amp.GradScaler(self.device.type) for name in self.named_optimizers}
            for name, state in self._optimizer_states.items():
                if state.get("scaler"):  # of a run that was in 16-mixed before
                    self._scalers[name].load_state_dict(state["scaler"])
        return [optimizer.algorithm for optimizer in self.named_optimizers.values()]

    def on_fit_start(self) -> None:
        self.experience.to(self.device)

    def on_train_start(self) -> None:
        # Lightning has just put its own handler for SIGTERM before ours: it waits, inside the handler, for processes
        # that may never hear of it.
        self._stop.listen()
        self._clock = time.perf_counter()

    def training_step(self, _: int, __: int) -> None:
        if self.position.is_unjudged and self._judge():
            self.trainer.should_stop = True
            return
        for minibatch in self.experience.minibatches(self.position, self._is_over):
            if self._after_step(self._minibatch(minibatch)):
                self.trainer.should_stop = True
                return
        if self._alone and self._is_over():  # between two rollouts, or amid one that was given up
            self._end_here()

    def evaluate(self, split: str) -> dict[str, float] | None:
        """Return the learner's metrics on a split; None where a signal came first.

        Raises:
            NonFiniteError: one is not finite.
        """
        counters = self.position.counters
        metrics = self.experience.evaluate(split, counters, self._stop.__bool__)
        for name, value in (metrics or {}).items():
            if not math.isfinite(value):
                raise NonFiniteError(f"{split}/{name} is {value} after {counters.optimizer_steps} steps")
        return metrics

    def save_if_behind(self) -> None:
        """Save a checkpoint where steps were taken since the last one."""
        if self._saved_step != self.position.counters.optimizer_steps:
            self._save_checkpoint(False)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: weights, optimisers, position, and what its experience needs to go on."""
        return {
            "learner": self.learner.state_dict(),
            "optimizers": {name: self._optimizer_state(name) for name in self.named_optimizers},
            "position": self.position.state(),
            "experience": self.experience.state(),
        }

    def _optimizer_state(self, name: str) -> dict[str, Any]:
        scaler = self._scalers[name].state_dict() if name in self._scalers else {}
        return {**self.named_optimizers[name].state(), "scaler": scaler}

    def _minibatch(self, minibatch: Any) -> dict[str, Tensor]:
        """Take one step; return the metrics of the part of the minibatch that this process has."""
        counters = self.position.counters
        metrics: dict[str, Tensor] = {}
        total = torch.tensor(0.0)
        parts = self._parts(minibatch)
        for part, loss in _in_turn([self._losses(part, share, counters) for part, share in parts]):
            last = part == len(parts) - 1
            if loss.value is None:
                _add(metrics, loss.metrics)
                continue
            if part == 0:
                self.named_optimizers[loss.optimizer].forget_gradients()
            value = loss.value / len(parts) if len(parts) > 1 else loss.value
            scaler = self._scalers.get(loss.optimizer)
            scaled = value if scaler is None else scaler.scale(value)
            if self._alone:  # what Lightning does around it, hooks that nobody has, costs a tenth of a small network's
                scaled.backward()
            else:
                with nullcontext() if last else self._unsynchronised():
                    self.manual_backward(scaled)
            total = value.detach() if part == 0 else total + value.detach()
            _add(metrics, loss.metrics if len(parts) == 1 else _scaled(loss.metrics, 1 / len(parts)))
            if last and self._step(loss.optimizer, total, counters):
                metrics["overflowed"] = torch.ones((), device=self.device)
        return {"overflowed": torch.zeros((), device=self.device), **metrics} if self._scalers else metrics

    def _parts(self, minibatch: Any) -> list[tuple[Any, Share]]:
        """Return the rows of each microbatch of this process, and which share of the whole batch they are."""
        if self._alone and self.limits.microbatch is None:
            return [(minibatch, WHOLE)]
        own = minibatch.view(world_size(), -1)[rank()]  # [B/W], contiguous in the batch
        parts = own.split(self.limits.microbatch or len(own))
        count = world_size() * len(parts)
        gathers = not self._alone and len(parts) == 1
        return [
            (part, Share(rank() * len(parts) + index, count, rows=len(part), gathers=gathers))
            for index, part in enumerate(parts)
        ]

    def _losses(self, minibatch: Any, share: Share, counters: Counters) -> Iterator[Loss]:
        keys = Keys(self.seed, "train", counters.optimizer_steps, share)
        yield from self.learner.losses(self.experience.batch(minibatch, keys), counters, keys)

    def _unsynchronised(self) -> AbstractContextManager[None]:
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()

    def _step(self, name: str, loss: Tensor, counters: Counters) -> bool:
        """Take the step of one optimiser; return whether it was left out, because half precision has overflowed."""
        optimizer, scaler = self.named_optimizers[name], self._scalers.get(name)
        if scaler is not None:
            scaler.unscale_(optimizer.algorithm)
        # Half precision overflows now and then: the scaler leaves such a step out and halves its scale. Where that
        # does not help, the gradients themselves are not finite.
        may_overflow = scaler is not None and scaler.get_scale() >= 1
        overflowed = self._check_and_clip(loss, optimizer, may_overflow=may_overflow)
        optimizer.step(counters, scaler)
        return overflowed

    def _check_and_clip(self, loss: Tensor, optimizer: Optimizer, *, may_overflow: bool) -> bool:
        """Raise where the loss or a gradient is not finite, but return whether a gradient is not where it may be."""
        gradients, clip = optimizer.gradients(), self.limits.gradient_clip
        # One number, so that a GPU is waited for once; not finite when the loss or any gradient is not. The sum of a
        # gradient costs half of its norm; where the norm is needed, it is that.
        norm = None if clip is None else get_total_norm(gradients)
        total = sum((gradient.sum() for gradient in gradients), start=loss) if norm is None else loss + norm
        if not math.isfinite(float(total)):
            if may_overflow and math.isfinite(float(loss)):
                return True
            raise NonFiniteError(
                f"optimiser step {self.position.counters.optimizer_steps + 1}: the loss is {float(loss)}, "
                f"the norm of its gradient {float(get_total_norm(gradients))}; the weights are those before this step. "
                "A smaller learning rate or trainer.gradient_clip may help"
            )
        if norm is not None and clip is not None and (length := float(norm)) > clip:
            torch._foreach_mul_(gradients, clip / length)
        return False

    def _after_step(self, metrics: Mapping[str, Tensor]) -> bool:
        """Count a step; record, validate and save what is due after it; return whether training ends here."""
        position, limits = self.position, self.limits
        self._take_time()
        progress = self.experience.after_step(position, metrics)
        weighted = metrics if progress.weight == 1 else _scaled(metrics, progress.weight)
        _add(position.window if self._alone else self._own_window, weighted)
        position.window_steps += progress.weight
        position.step_in_epoch = 0 if progress.epoch_ends else position.step_in_epoch + 1
        position.counters = progress.counters
        step = position.counters.optimizer_steps
        record = self.is_finished() or (progress.epoch_ends and self.experience.saves_each_epoch)
        record = record or step % limits.log_every == 0
        save = bool(limits.checkpoint_every and step % limits.checkpoint_every == 0)
        if record or save or step >= self._next_meeting:
            self._meet()
        finished = self.is_finished()
        if record or finished or progress.validates:
            self._flush_window()
        if finished or progress.validates:
            return self._judge()
        if save or self._stopping or self._saves_after(progress):
            self._save_checkpoint(False)
        return finished or self._stopping

    def _saves_after(self, progress: Progress) -> bool:
        """Return whether a checkpoint is due that nobody has asked for."""
        if self.experience.saves_each_epoch:
            return progress.epoch_ends
        return progress.epoch_ends and time.perf_counter() - self._saved_at > BETWEEN_SAVES

    def _meet(self) -> None:
        """Learn what the processes know together: their metrics, whether time is up, whether any was asked to stop.

        Clocks and signals differ between processes, and one that stopped alone would leave the others waiting. They
        meet before each record and checkpoint, and a few times a second; one process alone, after each step.
        """
        self._time_is_up, self._stopping = self.position.has_run_out(self.limits), bool(self._stop)
        if self._alone:
            return
        count, step = world_size(), self.position.counters.optimizer_steps
        told = torch.tensor([self._time_is_up, self._stopping, self._seconds], dtype=torch.float64)
        values = torch.stack([value.double() for value in self._own_window.values()]).cpu()
        *sums, time_is_up, stopping, seconds = sum_over_ranks(torch.cat([values, told])).unbind()
        _add(self.position.window, {name: value / count for name, value in zip(self._own_window, sums, strict=True)})
        self._time_is_up, self._stopping = bool(time_is_up), bool(stopping)
        # The mean seconds of a step over all processes: they come to the same step.
        a_step = float(seconds) / count / (step - self._last_meeting)
        self._last_meeting, self._next_meeting = step, step + max(1, int(BETWEEN_MEETINGS / max(a_step, 1e-6)))
        self._own_window, self._seconds = {}, 0.0

    def is_finished(self) -> bool:
        """Return whether one of the trainer's limits has been reached, or its patience is at an end."""
        return self.position.has_reached(self.limits, time_is_up=self._time_is_up)

    def _save_checkpoint(self, best: bool) -> None:
        for name, parameter in self.learner.named_parameters():
            if not torch.isfinite(parameter).all():
                steps = self.position.counters.optimizer_steps
                raise NonFiniteError(f"the weights {name} are not finite after {steps} steps; they were not saved")
        self._save(best)
        self._saved_step = self.position.counters.optimizer_steps
        # Neither saving nor validating counts as training.
        self._clock = self._saved_at = time.perf_counter()

    def _is_over(self) -> bool:
        """Return whether somebody has asked for the end, or the time is up by now."""
        return bool(self._stop) or self.position.has_run_out(self.limits, time.perf_counter() - self._clock)

    def _end_here(self) -> None:
        """End where no step has just been taken, judged if it is the end of the run."""
        self.trainer.should_stop = True
        if not self._stop:
            self._take_time()
            self._meet()
            self._flush_window()
            if self._judged_step == self.position.counters.optimizer_steps:
                self._save_checkpoint(False)
            else:
                self._judge()

    def _judge(self) -> bool:
        """Validate and save; return whether training ends here.

        A signal ends the validation without a record, and the run that is resumed begins with it.
        """
        metrics = self.evaluate(self.experience.judged_on)
        self._clock = time.perf_counter()
        self.position.is_unjudged = metrics is None
        self._judged_step = self.position.counters.optimizer_steps
        best = self._record_validation(metrics) if metrics else False
        self._save_checkpoint(best)
        return metrics is None or self.is_finished() or self._stopping

    def _record_validation(self, metrics: Mapping[str, float]) -> bool:
        """Record the validation metrics; return whether they are the best so far."""
        self.emit(self.experience.judged_on, metrics)
        cost = self.experience.cost(metrics)
        better, best = cost < self.position.best, cost <= self.position.best  # of equal ones the last is kept
        self.position.best = min(self.position.best, cost)
        self.position.validations_since_best = 0 if better else self.position.validations_since_best + 1
        return best

    def _flush_window(self) -> None:
        position = self.position
        if not position.window_steps:
            return
        metrics = {name: float(total) / position.window_steps for name, total in position.window.items()}
        amount = self.experience.amount(position.counters)
        rate = (amount - position.window_start) / max(position.window_seconds, 1e-9)
        position.window, position.window_steps, position.window_seconds = {}, 0.0, 0.0
        position.window_start = amount
        self.emit("train", self.experience.news() | metrics, {f"throughput/{self.experience.unit}_per_second": rate})

    def emit(self, split: str, metrics: Mapping[str, float], others: Mapping[str, float] | None = None) -> None:
        """Record the metrics of a split, each under `<split>/`, and others as they are."""
        self._record(
            {
                **self.experience.axes(self.position.counters),
                "split": split,
                **{f"{split}/{name}": value for name, value in metrics.items()},
                **(others or {}),
            }
        )

    def _take_time(self) -> None:
        now = time.perf_counter()
        self.position.seconds += now - self._clock
        self.position.window_seconds += now - self._clock
        self._seconds += now - self._clock
        self._clock = now


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value


def _scaled(values: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    return {name: factor * value for name, value in values.items()}


def _in_turn(iterators: Sequence[Iterator[Loss]]) -> Iterator[tuple[int, Loss]]:
    """Yield the first loss of each iterator, then the second of each, and so on; none before it is asked for."""
    while True:
        for index, iterator in enumerate(iterators):
            loss = next(iterator, None)
            if loss is None:
                return
            yield index, loss


class Turns:
    """Lightning's loader: it says nothing but that there is another turn, and never ends by itself."""

    def __len__(self) -> int:
        return 2**31

    def __iter__(self) -> Iterator[int]:
        return itertools.count()
