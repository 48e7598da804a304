"""Running recipes in processes of their own that kill themselves at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console

# A server process that has imported everything and computed nothing: each run is forked from it in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["framework.run", "framework.module", "framework_plugins", "framework.distributed"])

TIME_LIMIT = 60.0  # seconds, for one process


def start(target: Callable[..., None], *arguments: Any) -> int:
    """Run a function in a process of its own and return the exit code, negative for a signal."""
    return wait_for(begin(target, *arguments))


def begin(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function in a process of its own, which is to be waited for."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def wait_for(process: BaseProcess) -> int:
    """Return the exit code of a process, negative for a signal."""
    process.join(timeout=TIME_LIMIT)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the process did not end in {TIME_LIMIT:g} s")
    return process.exitcode


def train(recipe: Path, root: Path, overrides: Sequence[str], killed_at: str | None) -> None:
    """`fw run`, killed at one of the moments of `_ARM`."""
    from framework import run as running
    from framework.prepare import prepare

    quiet()
    if killed_at is not None:
        _ARM[killed_at]()
    running.run(prepare(recipe, overrides, [], root / "no-data"), root, console())


def go_on(run: Path, overrides: Sequence[str], killed_at: str | None = None) -> None:
    """`fw resume`, killed at one of the moments of `_ARM`."""
    from framework.resume import prepare_resumption, resume

    quiet()
    if killed_at is not None:
        _ARM[killed_at]()
    resume(prepare_resumption(run, overrides, run / "no-data"), console())


def quiet() -> None:
    import warnings

    import torch

    from framework import run as running

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    running.draw = lambda *arguments: []  # pictures are tested elsewhere, and take longer than these runs
    running.draw_learning_curves = lambda *arguments: None
    os.environ["WANDB_MODE"] = "disabled"


def console() -> Console:
    return Console(file=Path(os.devnull).open("w"))


def kill_on_call(owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """Make the n-th call of a function the process's last."""
    on_call(owner, name, call, lambda: os.kill(os.getpid(), signal.SIGKILL), after=after)


def on_call(owner: Any, name: str, call: int, deed: Callable[[], object], *, after: bool = False) -> None:
    """Do something before, or after, the n-th call of a function from now on."""
    function = getattr(owner, name)
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == call
        if now and not after:
            deed()
        result = function(*arguments, **options)
        if now and after:
            deed()
        return result

    setattr(owner, name, counted)


def _in_a_training_step() -> None:
    from framework.optimizer import Optimizer

    kill_on_call(Optimizer, "step", 47, after=True)


def _before_the_first_checkpoint() -> None:
    from framework.optimizer import Optimizer

    kill_on_call(Optimizer, "step", 7, after=True)


def _in_validation() -> None:
    from framework.learners.latent import Latent

    kill_on_call(Latent, "evaluate", 6)


def _while_the_first_checkpoint_is_written() -> None:
    from framework import checkpoint

    kill_on_call(checkpoint, "_manifest", 1)


def _while_a_checkpoint_is_written() -> None:
    from framework import checkpoint

    # The second checkpoint, when its bytes are on the disk and no name has moved yet.
    kill_on_call(checkpoint, "_manifest", 2)


def _between_the_renames_of_a_checkpoint() -> None:
    import pathlib

    # Three renames make the first checkpoint; in the second, the fourth takes `last` to `previous`.
    renames = 0
    replace = pathlib.Path.replace

    def counted(path: pathlib.Path, target: Any) -> Any:
        nonlocal renames
        result = replace(path, target)
        renames += Path(target).name == "previous.ckpt"
        if renames == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    pathlib.Path.replace = counted  # type: ignore[method-assign]


def _at_the_end_of_an_epoch() -> None:
    from framework.module import Module

    kill_on_call(Module, "_flush_window", 5, after=True)


def _after_the_last_checkpoint() -> None:
    from framework import run as running

    kill_on_call(running, "_take_best_weights", 1)


_ARM: dict[str, Callable[[], None]] = {
    "in a training step": _in_a_training_step,
    "before the first checkpoint": _before_the_first_checkpoint,
    "in validation": _in_validation,
    "while the first checkpoint is written": _while_the_first_checkpoint_is_written,
    "while a checkpoint is written": _while_a_checkpoint_is_written,
    "between the renames of a checkpoint": _between_the_renames_of_a_checkpoint,
    "at the end of an epoch": _at_the_end_of_an_epoch,
    "after the last checkpoint": _after_the_last_checkpoint,
}
MOMENTS = list(_ARM)
