"""The squared maximum mean discrepancy of two samples, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Kernel = Literal["rbf", "imq"]
Statistic = Literal["u", "v"]

# Points a side of a block. On the CPU the fastest of 192 to 768: smaller blocks pay for calls and for the threads'
# meetings, larger ones (seven scales of 384² are 4 MB) for memory. A GPU waits for launches when blocks are small.
_CPU_BLOCK, _GPU_BLOCK = 384, 1024


def mmd_squared(z: Tensor, w: Tensor, kernel: Kernel, widths: Sequence[float], statistic: Statistic = "u") -> Tensor:
    """Return MMD² of two samples: means of k(z, z') and of k(w, w'), less twice the mean of k(z, w).

    u: the means within a sample are over pairs of two different points, Σ_{i≠j} k/(n(n − 1)); unbiased, zero in
    expectation exactly when z and w have one distribution, then negative about half of the time.
    v: over all pairs, Σ k/n²; biased upwards, never negative, zero only if the two sets coincide.
    rbf: k = Σ_s exp(−r²/s). imq: k = Σ_s s/(s + r²).

    Time n²·(D + widths); memory n·D, for the matrices are made block by block and never held, and the gradient is found
    in the same pass. Distances and sums are in float64, so that value and gradient are accurate to the rounding of the
    kernel's values, wherever the origin is. It cannot be differentiated twice.

    Args:
        z: [n, D], float32 or float64 (lower precisions are computed in float32).
        w: [m, D]; m may differ from n.
        kernel: rbf or imq.
        widths: s of every scale, in the unit of z squared.
        statistic: u or v.

    Returns:
        [], float64 if an input is, otherwise float32.

    Raises:
        ValueError: the shapes do not match, or a sample is too small (u needs two points, v one).

    Example:
        >>> z = torch.tensor([[0.0], [1.0]])
        >>> mmd_squared(z, z + 1, "imq", [1.0], "v")
        tensor(0.4000)

    Reference: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equations 3 (u) and 5 (v),
        https://jmlr.org/papers/v13/gretton12a.html.
    """
    fewest = 2 if statistic == "u" else 1
    if z.dim() != 2 or w.dim() != 2 or z.shape[1] != w.shape[1] or min(len(z), len(w)) < fewest:
        raise ValueError(
            f"mmd: the {statistic} statistic expects two samples [n, D], [m, D] of at least {fewest} points, "
            f"found {list(z.shape)} and {list(w.shape)}; write a larger data.batch_size"
        )
    if torch.is_grad_enabled() and (z.requires_grad or w.requires_grad):
        value: Tensor = _MMDSquared.apply(z, w, kernel, tuple(widths), statistic)  # type: ignore[no-untyped-call]
        return value
    return _evaluate(z, w, kernel, widths, statistic, (False, False))[0]


class _MMDSquared(torch.autograd.Function):
    """`_evaluate` with its own backward pass: the gradients are made in the forward pass, beside the value."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, w: Tensor, kernel: Kernel, widths: tuple[float, ...], statistic: Statistic
    ) -> Tensor:
        wanted = ctx.needs_input_grad
        value, *gradients = _evaluate(z, w, kernel, widths, statistic, wanted[:2])
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_z, of_w = (None if gradient is None else upstream * gradient for gradient in ctx.saved_tensors)
        return of_z, of_w, None, None, None


class _Points:
    """A sample laid out for matrix products, in float64 and about a common centre.

    Attributes:
        left, right: [n, D + 2] with left_i · right_j = ‖a_i − b_j‖², in float64 because the squares cancel.
        coordinates: [n, D + 1], the centred points and a one.
        pull: [D + 1, n] or None; Σ_b k'(r²)·(b, 1) over the other points b.
    """

    def __init__(self, points: Tensor, centre: Tensor, wants_gradient: bool) -> None:
        centred = points - centre  # [n, D]
        square = centred.square().sum(1, keepdim=True)  # [n, 1]
        one = torch.ones_like(square)
        self.left = torch.cat([centred, one, square], 1)
        self.right = torch.cat([-2 * centred, square, one], 1)
        self.coordinates = self.left[:, :-1]
        self.pull = centred.new_zeros(self.coordinates.T.shape) if wants_gradient else None

    def gradient(self, dtype: torch.dtype) -> Tensor | None:
        # ∂k(r²)/∂a = 2 k'(r²)(a − b), and MMD² counts each pair from either side.
        if self.pull is None:
            return None
        return (4 * (self.coordinates[:, :-1] * self.pull[-1:].T - self.pull[:-1].T)).to(dtype)  # [n, D]


def _evaluate(
    z: Tensor, w: Tensor, kernel: Kernel, widths: Sequence[float], statistic: Statistic, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return MMD² and its gradients with respect to z and w, those that are wanted."""
    z, w = z.detach(), w.detach()
    dtype = torch.promote_types(torch.promote_types(z.dtype, w.dtype), torch.float32)
    centre = (z.mean(0, dtype=torch.float64) + w.mean(0, dtype=torch.float64)) / 2  # [D]
    a, b = _Points(z, centre, wanted[0]), _Points(w, centre, wanted[1])
    scales = torch.tensor(widths, dtype=dtype, device=z.device)  # [S]
    side = min(_CPU_BLOCK if z.device.type == "cpu" else _GPU_BLOCK, max(len(z), len(w)))
    # One buffer for all blocks: to get and give back its pages each time takes longer than the arithmetic.
    buffer = scales.new_empty(len(scales), side * side)  # [S, side²]
    within = [1 / (n * (n - 1)) if statistic == "u" else 1 / n**2 for n in (len(z), len(w))]
    across = -1 / (len(z) * len(w))
    # Autocast would take the float32 products to half precision.
    with torch.autocast(z.device.type, enabled=False):
        value = within[0] * _add_pairs(a, a, within[0], kernel, scales, buffer)
        value = value + within[1] * _add_pairs(b, b, within[1], kernel, scales, buffer)
        value = value + 2 * across * _add_pairs(a, b, across, kernel, scales, buffer)
    if statistic == "v":  # the pairs of a point with itself: k = 1 for each scale
        value = value + len(widths) * (1 / len(z) + 1 / len(w))
    return value.to(dtype), a.gradient(z.dtype), b.gradient(w.dtype)


def _add_pairs(a: _Points, b: _Points, factor: float, kernel: Kernel, widths: Tensor, buffer: Tensor) -> Tensor:
    """Return Σ k(a_i, b_j), [] float64, over i ≠ j where a is b; add factor times the slopes to both pulls."""
    total = a.left.new_zeros(())
    differentiates = a.pull is not None or b.pull is not None
    side = math.isqrt(buffer.shape[1])
    for i in range(0, len(a.left), side):
        # The kernel matrix of a sample with itself is symmetric: the blocks on and above the diagonal suffice.
        for j in range(i if a is b else 0, len(b.left), side):
            mirrored, diagonal = a is b and i != j, a is b and i == j
            rows, columns = slice(i, i + side), slice(j, j + side)
            squared = (a.left[rows] @ b.right[columns].T).to(widths.dtype).clamp_min_(0)  # [rows, columns]
            if diagonal:
                squared.fill_diagonal_(torch.inf)  # k = k' = 0: a point is no pair with itself
            block_sum, slope = _KERNELS[kernel](squared, widths, buffer, differentiates)
            total = total + (2 * block_sum if mirrored else block_sum)
            if slope is None:
                continue
            slope = slope.to(a.left.dtype)
            if b.pull is not None:
                b.pull[:, columns].addmm_(a.coordinates[rows].T, slope, alpha=factor)
            if a.pull is not None and not diagonal:
                a.pull[:, rows].addmm_(b.coordinates[columns].T, slope.T, alpha=factor)
    return total


def _inverse_multiquadric(
    squared: Tensor, widths: Tensor, buffer: Tensor, wants_slope: bool
) -> tuple[Tensor, Tensor | None]:
    # k = Σ s/(s + r²), k' = −Σ s/(s + r²)²
    flat = buffer[:, : squared.numel()]  # [S, rows·columns]
    inverse = torch.add(squared.view(-1), widths[:, None], out=flat).reciprocal_()
    total = _sum(inverse, squared.shape) @ widths.double()
    return total, (-widths @ inverse.square_()).view_as(squared) if wants_slope else None


def _gaussian(squared: Tensor, widths: Tensor, buffer: Tensor, wants_slope: bool) -> tuple[Tensor, Tensor | None]:
    # k = Σ exp(−r²/s), k' = −Σ exp(−r²/s)/s
    rates = -widths.reciprocal()  # [S]
    flat = buffer[:, : squared.numel()]  # [S, rows·columns]
    values = torch.mul(squared.view(-1), rates[:, None], out=flat).exp_()
    return _sum(values, squared.shape).sum(), (rates @ values).view_as(squared) if wants_slope else None


def _sum(values: Tensor, shape: torch.Size) -> Tensor:
    """Sum each scale's block, [S, rows·columns] → [S] float64: a row in its own type, the rows' sums in float64."""
    return values.view(-1, *shape).sum(2).sum(1, dtype=torch.float64)


_KERNELS = {"imq": _inverse_multiquadric, "rbf": _gaussian}
