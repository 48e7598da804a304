"""Time, memory and error of MMD² (value and gradient, imq with seven scales) as the batch grows.

    python benchmarks/mmd_scaling.py [--sizes 128 2048] [--dimensions 16 64] [--threads 1]

Three formulations are run in turn, again and again, and their median times compared: ours, which goes block by block;
`broadcast`, through autograd on the differences [n, n, D]; and `product`, through autograd on one distance matrix
[2n, 2n] of the stacked samples. Those that would need more than 4 GB are skipped, and the table says so. Memory is the
peak of a fresh process beyond its inputs (Linux). Errors are ours, against float64 on the same float32 inputs: of the
value, absolute and relative, and of the gradient, relative to its largest entry; at the origin and with all points
moved by 1000.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from framework.mmd_of_samples import mmd_squared

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
LIMIT = 4e9  # bytes
Formulation = Callable[[Tensor, Tensor, list[float]], Tensor]


def ours(z: Tensor, w: Tensor, widths: list[float]) -> Tensor:
    return mmd_squared(z, w, "imq", widths, "u")


def broadcast(z: Tensor, w: Tensor, widths: list[float]) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return imq((a[:, None] - b[None]).square().sum(-1), widths)

    return u_statistic(kernel(z, z), kernel(w, w), kernel(z, w))


def product(z: Tensor, w: Tensor, widths: list[float]) -> Tensor:
    points = torch.cat([z, w])  # [2n, D]
    square = points.square().sum(1)
    kernel = imq((square[:, None] + square - 2 * points @ points.T).clamp_min(0), widths)  # [2n, 2n]
    n = len(z)
    return u_statistic(kernel[:n, :n], kernel[n:, n:], kernel[:n, n:])


def imq(squared: Tensor, widths: list[float]) -> Tensor:
    total = torch.zeros_like(squared)
    for s in widths:
        total = total + s / (s + squared)
    return total


def u_statistic(zz: Tensor, ww: Tensor, zw: Tensor) -> Tensor:
    pairs = len(zz) * (len(zz) - 1)
    return (zz.sum() - zz.trace()) / pairs + (ww.sum() - ww.trace()) / pairs - 2 * zw.mean()


FORMULATIONS: dict[str, Formulation] = {"ours": ours, "broadcast": broadcast, "product": product}


def bytes_needed(name: str, n: int, dimension: int) -> float:
    """Return about how many bytes a formulation holds at once, float32, seven scales, backward pass included."""
    return {
        "ours": 0.0,
        "broadcast": 4.0 * n**2 * (5 * dimension + 3 * 2 * len(SCALES)),
        "product": 4.0 * (2 * n) ** 2 * (2 * len(SCALES) + 4),
    }[name]


def inputs(n: int, dimension: int) -> tuple[Tensor, Tensor, list[float]]:
    generator = torch.Generator().manual_seed(0)
    z = 0.9 * torch.randn(n, dimension, generator=generator) + 0.1  # [n, D], near the prior and not at it
    w = torch.randn(n, dimension, generator=generator)  # [n, D]
    return z, w, [2.0 * dimension * scale for scale in SCALES]


def value_and_gradient(formulation: Formulation, z: Tensor, w: Tensor, widths: list[float]) -> tuple[Tensor, Tensor]:
    z = z.detach().requires_grad_()
    value = formulation(z, w, widths)
    return value.detach(), torch.autograd.grad(value, z)[0]


def medians(names: list[str], n: int, dimension: int) -> dict[str, float]:
    """Return the median seconds of each formulation; they take turns, so that a busy machine hurts them alike."""
    arguments = inputs(n, dimension)
    durations: dict[str, list[float]] = {name: [] for name in names}
    started = time.perf_counter()
    while len(durations[names[0]]) < 6 or (time.perf_counter() - started < 2 and len(durations[names[0]]) < 200):
        for name in names:
            begun = time.perf_counter()
            value_and_gradient(FORMULATIONS[name], *arguments)
            durations[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[1:]) for name, times in durations.items()}  # the first is a warm-up


def peak_megabytes(name: str, n: int, dimension: int) -> float:
    """Return the peak resident memory of a fresh process beyond what it held with its inputs made."""
    command = [sys.executable, __file__, "--peak", name, "--sizes", str(n), "--dimensions", str(dimension)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(name: str, n: int, dimension: int) -> None:
    value_and_gradient(FORMULATIONS[name], *inputs(16, dimension))  # libraries and their buffers are loaded
    arguments = inputs(n, dimension)
    resident = memory_kilobytes("VmRSS")
    value_and_gradient(FORMULATIONS[name], *arguments)
    print((memory_kilobytes("VmHWM") - resident) * 1024 / 1e6)


def memory_kilobytes(field: str) -> int:
    # Not getrusage: its peak is handed down by the parent process.
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0])


def errors(n: int, dimension: int, shift: float) -> str:
    z, w, widths = inputs(n, dimension)
    z, w = z + shift, w + shift
    value, gradient = value_and_gradient(ours, z, w, widths)
    expected, expected_gradient = exact(z.double(), w.double(), widths)
    absolute = abs(value.item() - expected)
    relative = (gradient - expected_gradient).abs().max() / expected_gradient.abs().max()
    return f"{absolute:8.1e} {absolute / abs(expected):8.1e} {relative:8.1e}"


def exact(z: Tensor, w: Tensor, widths: list[float]) -> tuple[float, Tensor]:
    """Return value and gradient in float64, from differences of coordinates, some rows at a time."""
    n, centre = len(z), z.mean(0)
    value, gradient = 0.0, torch.zeros_like(z)
    for first in range(0, n, 256):
        rows = slice(first, first + 256)
        for a, b, factor in ((z, z, 1 / (n * (n - 1))), (w, w, 1 / (n * (n - 1))), (z, w, -2 / n**2)):
            squared = torch.cdist(a[rows], b, compute_mode="donot_use_mm_for_euclid_dist").square()  # [256, n]
            inverse = [(s + squared).reciprocal_() for s in widths]
            kernel = torch.stack([s * k.sum() for s, k in zip(widths, inverse, strict=True)]).sum().item()
            own = len(widths) * len(squared) if a is b else 0  # a point with itself: 1 for each scale
            value += factor * (kernel - own)
            if a is z:
                slope = sum((-s * k.square() for s, k in zip(widths, inverse, strict=True)), torch.zeros_like(squared))
                slope *= (4 if b is z else 2) * factor
                gradient[rows] += slope.sum(1, keepdim=True) * (z[rows] - centre) - slope @ (b - centre)
    return value, gradient


def print_row(n: int, dimension: int) -> None:
    fitting = [name for name in FORMULATIONS if bytes_needed(name, n, dimension) <= LIMIT]
    seconds = medians(fitting, n, dimension)
    cells = [f"{n:6d} {dimension:4d}"]
    for name in FORMULATIONS:
        if name not in fitting:
            cells.append(f"{'skipped: about ' + format(bytes_needed(name, n, dimension) / 1e9, '.0f') + ' GB':>29}")
            continue
        ratio = f"{seconds[name] / seconds['ours']:6.1f}x" if name != "ours" else ""
        memory = f"{peak_megabytes(name, n, dimension):6.0f} MB"
        cells.append(f"{seconds[name] * 1e3:10.2f} {ratio:>7} {memory:>10}")
    cells += [errors(n, dimension, shift) for shift in (0.0, 1000.0)]
    print(" | ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2**k for k in range(7, 15)], help="n, points a sample")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[16, 64], help="D, coordinates a point")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--peak", choices=list(FORMULATIONS), help="print the peak memory of one formulation, in MB")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(options.peak, options.sizes[0], options.dimensions[0])
        return
    print(f"torch {torch.__version__}, {options.threads} threads; milliseconds (median), times ours, peak memory")
    titles = [f"{'n':>6} {'D':>4}", *(f"{name:>29}" for name in FORMULATIONS)]
    print(" | ".join([*titles, f"{'error: value, rel., gradient':>26}", f"{'the same, moved by 1000':>26}"]))
    for dimension in options.dimensions:
        for n in options.sizes:
            print_row(n, dimension)


if __name__ == "__main__":
    main()
