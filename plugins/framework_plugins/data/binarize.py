"""Grey images → numbers in [0, 1], or zeros and ones: not at all, by a threshold, or by draws."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from framework import Split
from framework.data import Values
from framework.randomness import key

Binarization = Literal["none", "threshold", "dynamic"]

EVALUATION_NOTE = (
    "The validation and test images are binarised once, by a draw with a fixed key: all seeds are judged on the same "
    "bits."
)


def as_float(bits: Tensor) -> Tensor:
    """Return zeros and ones as float32."""
    return bits.to(torch.float32)


def scale(pixels: Tensor, *, maximum: int) -> Tensor:
    """Return x = pixel / maximum in [0, 1], float32, of any shape."""
    return pixels.to(torch.float32) / maximum


def threshold(pixels: Tensor, *, maximum: int) -> Tensor:
    """Return 1 where pixel / maximum ≥ 1/2 and 0 elsewhere, float32, of any shape."""
    # In whole numbers: twice a uint8 pixel overflows, and half of an odd maximum is not a pixel.
    return (pixels >= (maximum + 1) // 2).to(torch.float32)


def sample(pixels: Tensor, *, maximum: int, generator: torch.Generator | None = None) -> Tensor:
    """Return b ~ Bernoulli(pixel / maximum), each pixel by itself: b = [u < pixel / maximum], u uniform in [0, 1).

    A pixel of 0 gives 0 and one of `maximum` gives 1, always: u is never 1.

    Args:
        pixels: integers of 0 … maximum, of any shape.
        maximum: the brightest pixel.
        generator: where u is drawn from; the default generator of the pixels' device unless given.

    Returns:
        Zeros and ones, float32, of the same shape, on the same device.

    Reference: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016,
    https://arxiv.org/abs/1509.00519, who draw anew at every look.
    """
    uniform = torch.rand(pixels.shape, dtype=torch.float32, device=pixels.device, generator=generator)
    return uniform.lt_(scale(pixels, maximum=maximum))


def fixed_sample(pixels: Tensor, *, maximum: int, stream: str) -> Tensor:
    """Return `sample` drawn with a key of its own, as uint8: the same bits in every run, whatever its seed."""
    generator = torch.Generator().manual_seed(key(0, stream, 0))
    return sample(pixels, maximum=maximum, generator=generator).to(torch.uint8)


def values_of(how: Binarization) -> Values:
    """Return the range of the examples that `split` gives."""
    return "unit_interval" if how == "none" else "binary"


def binarization_of(how: str) -> str | None:
    """Return the word for it in the data's facts: None where pixels stay grey."""
    return None if how == "none" else how


def bit_split(bits: Tensor, labels: Tensor | None) -> Split:
    """Return one of the three sets of images [N, C, H, W] that are zeros and ones already, uint8."""
    return Split(bits, labels, as_float)


def split(
    how: Binarization, pixels: Tensor, labels: Tensor | None, *, maximum: int, stream: str | None = None
) -> Split:
    """Return one of the three sets of grey images.

    Args:
        how: `none` scales to [0, 1]; `threshold` rounds; `dynamic` draws anew at every look, or once, with a fixed key,
            when there is a `stream`.
        pixels: [N, C, H, W] uint8.
        labels: [N] int64, or None.
        maximum: the brightest pixel.
        stream: the name of that key, "mnist/validation".
    """
    if how == "dynamic" and stream is not None:
        return bit_split(fixed_sample(pixels, maximum=maximum, stream=stream), labels)
    transform = {"none": scale, "threshold": threshold, "dynamic": sample}[how]
    return Split(pixels, labels, partial(transform, maximum=maximum))


def three_splits(
    how: Binarization,
    pixels: tuple[Tensor, Tensor, Tensor],
    labels: tuple[Tensor, Tensor, Tensor] | None,
    *,
    maximum: int,
    name: str,
) -> tuple[Split, Split, Split]:
    """Return the training, the validation and the test set of grey images; the last two are binarised once.

    Args:
        how: as in `split`.
        pixels: of each, [N, C, H, W] uint8.
        labels: of each, [N] int64; or None.
        maximum: the brightest pixel.
        name: the data set's; the keys of those draws begin with it.
    """
    y = labels or (None, None, None)
    return (
        split(how, pixels[0], y[0], maximum=maximum),
        split(how, pixels[1], y[1], maximum=maximum, stream=f"{name}/validation"),
        split(how, pixels[2], y[2], maximum=maximum, stream=f"{name}/test"),
    )
