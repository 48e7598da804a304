"""Several processes: examples a second against their number, and what gathering the posteriors costs.

    python benchmarks/data_parallel.py ranks            # `fw run` of a recipe on 1, 2, … processes, in turn
    python benchmarks/data_parallel.py gather           # gather and its gradient, as batch and dimension grow

`ranks` trains the recipe for so many steps in a run of its own each time and takes the median of the rates that the run
records after its first quarter; rounds are interleaved, the numbers are medians. On a GPU machine add
`--accelerator gpu`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from framework.distributed import rank, sum_over_ranks
from framework.distributions import DiagonalGaussian
from framework.share import Share

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def examples_per_second(recipe: str, count: int, batch: int, steps: int, accelerator: str, others: list[str]) -> float:
    """Train a recipe on so many processes; return the rate of its training records, after the first."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            f"data.batch_size={batch}",
            f"trainer.devices={count}",
            f"trainer.accelerator={accelerator}",
            f"trainer.max_steps={steps}",
            f"trainer.log_every={steps // 4}",  # the first quarter is recorded alone, and left out: nothing is warm
            "trainer.max_epochs=null",
            "trainer.validate_every=1000000",
            *others,
        ]
        command = [sys.executable, "-m", "framework", "run", str(RECIPES / f"{recipe}.yaml"), *settings]
        environment = {**os.environ, "WANDB_MODE": "disabled"}
        subprocess.run([*command, "--out", folder], env=environment, check=True, stdout=subprocess.DEVNULL)
        (metrics,) = Path(folder).glob("*/*/metrics.jsonl")
        records = [json.loads(line) for line in metrics.read_text().splitlines()]
        rates = [one["throughput/examples_per_second"] for one in records if one["split"] == "train"]
        return statistics.median(rates[1:])


def compare_ranks(options: argparse.Namespace) -> None:
    print(f"{options.recipe}: examples/s, and how many times the rate of one process")
    for batch in options.batches:
        rates: dict[int, list[float]] = {count: [] for count in options.counts}
        for _ in range(options.rounds):
            for count in options.counts:
                rates[count].append(
                    examples_per_second(
                        options.recipe, count, batch, options.steps, options.accelerator, options.settings
                    )
                )
        for count, found in rates.items():
            ratio = statistics.median(one / first for one, first in zip(found, rates[options.counts[0]], strict=True))
            print(f"batch {batch:>6}  {count} processes  {statistics.median(found):>9,.0f}  {ratio:.2f}", flush=True)


def milliseconds(function: Callable[[], object], repeats: int = 30) -> float:
    times = []
    for _ in range(repeats):
        sum_over_ranks(torch.zeros(1))
        started = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def measure_gather(index: int, count: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=index, world_size=count)
    if rank() == 0:
        print(f"{count} processes: q gathered, z drawn, and the gradient brought back; ms, megabytes a process sends")
    for batch in (128, 1024, 8192):
        for dimension in (16, 128, 1024):
            if batch * dimension > 1 << 20:
                continue
            mean, log_scale = (torch.zeros(batch // count, dimension, requires_grad=True) for _ in range(2))
            share = Share(index, count, rows=batch // count, gathers=True)

            def step(mean: torch.Tensor = mean, log_scale: torch.Tensor = log_scale, share: Share = share) -> None:
                _, whole, _ = share.sample(DiagonalGaussian(mean, log_scale))
                whole.sum().backward()

            def alone(batch: int = batch, dimension: int = dimension) -> None:
                whole = [torch.zeros(batch, dimension, requires_grad=True) for _ in range(2)]
                DiagonalGaussian(*whole).rsample().sum().backward()

            both, without = milliseconds(step), milliseconds(alone)
            sent = 2 * 2 * 4 * batch // count * dimension * (count - 1) / 1e6
            if rank() == 0:
                print(f"B {batch:>5}  D {dimension:>5}  {both:>7.2f}  (without gathering {without:.2f})  {sent:.2f} MB")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    ranks = commands.add_parser("ranks")
    ranks.add_argument("settings", nargs="*", help="key.path=value")
    ranks.add_argument("--recipe", default="vae_mnist")
    ranks.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    ranks.add_argument("--batches", type=int, nargs="+", default=[128, 1024, 4096])
    ranks.add_argument("--steps", type=int, default=200)
    ranks.add_argument("--rounds", type=int, default=3)
    ranks.add_argument("--accelerator", default="cpu")
    ranks.set_defaults(run=compare_ranks)
    gather = commands.add_parser("gather")
    gather.add_argument("--count", type=int, default=2)

    def gathers(options: argparse.Namespace) -> None:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(measure_gather, (options.count, f"{folder}/store"), nprocs=options.count)

    gather.set_defaults(run=gathers)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
