"""What the framework costs: a recipe as shipped against the hand-written loop of `bare_vae.py`, interleaved.

Both train an MLP 784-512-16 on MNIST, batch 128, dynamic binarisation, fused Adam, one thread, in one process: the
recipe for 16 optimiser steps, the loop for 16, and so on. The recipe's share holds all that happens between two
minibatches of `fw run`: Lightning, records, W&B (offline), the progress bar. Validation and checkpoints happen at
epochs' ends; those chunks are left out on both sides.

    python benchmarks/latent_throughput.py                 # the VAE
    python benchmarks/latent_throughput.py --recipe infovae_mnist
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import torch
from bare_vae import VAE, Regularizer, binarize, train_step
from mnist_arrays import mnist
from rich.console import Console
from torch import Tensor

from framework import run as running
from framework.data import default_directory
from framework.examples import CHUNK, Examples
from framework.position import Position
from framework.prepare import prepare

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def mmd(z: Tensor) -> Tensor:
    """999 · MMD² with seven inverse multiquadratic kernels, from one distance matrix of z and the prior's samples."""
    n, d = z.shape
    points = torch.cat([z, torch.randn_like(z)])
    squares = points.square().sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * points @ points.T
    kernel = sum(c * 2 * d / (c * 2 * d + distances) for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    within = (kernel[:n, :n].sum() + kernel[n:, n:].sum() - kernel.diagonal().sum()) / (n * (n - 1))
    return 999 * (within - 2 * kernel[:n, n:].mean())


class BareLoop:
    """The hand-written loop, a number of steps at a time."""

    def __init__(self, regularizer: Regularizer | None) -> None:
        self.train, _ = mnist()
        self.model = VAE()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.regularizer = regularizer
        self.order = iter(())

    def steps(self, count: int) -> float:
        """Take so many steps; return the seconds."""
        started = time.perf_counter()
        for _ in range(count):
            rows = next(self.order, None)
            if rows is None:
                self.order = iter(torch.randperm(len(self.train))[: len(self.train) // 128 * 128].view(-1, 128))
                rows = next(self.order)
            train_step(self.model, self.optimizer, binarize(self.train[rows]), self.regularizer)
        return time.perf_counter() - started


class Interleaved(Examples):
    """The recipe's minibatches, with the bare loop's turn after each chunk."""

    pairs: ClassVar[list[tuple[float, float]]] = []
    bare: BareLoop
    left: float | None = None  # when the chunk that is going on was begun

    def minibatches(self, position: Position, stopping: Callable[[], bool]) -> Iterator[Tensor]:
        # From one call to the next lies everything that `fw run` does with a chunk.
        if self.left is not None:
            self.pairs.append((time.perf_counter() - self.left, self.bare.steps(CHUNK)))
        whole = position.step_in_epoch + CHUNK < self.steps_per_epoch  # and no epoch's end
        self.left = time.perf_counter() if whole else None
        yield from super().minibatches(position, stopping)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--recipe", default="vae_mnist", choices=["vae_mnist", "infovae_mnist"])
    arguments.add_argument("--epochs", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("WANDB_MODE", "offline")
    Interleaved.bare = BareLoop(mmd if options.recipe == "infovae_mnist" else None)
    Interleaved.bare.steps(50)
    # The recipe's objective with the kernel that the loop has: seven inverse multiquadratics.
    overrides = ["divergences.infovae.of={name: mmd}"] if options.recipe == "infovae_mnist" else []
    import framework.prepare

    framework.prepare.Examples = Interleaved  # type: ignore[misc]
    prepared = prepare(
        RECIPES / f"{options.recipe}.yaml",
        [f"trainer.max_epochs={options.epochs}", *overrides],
        [],
        default_directory(dict(os.environ)),
    )
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        running.run(prepared, Path(folder), Console(file=nowhere, force_terminal=True))
    pairs = Interleaved.pairs[2:]
    ratio = statistics.median(bare / own for own, bare in pairs)
    own, bare = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    examples = 128 * CHUNK
    print(f"{options.recipe}: {len(pairs)} pairs of {examples} examples")
    print(f"  framework {examples / own:>10,.0f} examples/s")
    print(f"  bare loop {examples / bare:>10,.0f} examples/s")
    print(f"  ratio, median of pairs {ratio:.3f}")


if __name__ == "__main__":
    main()
