"""Binarisation against what the formula says of each grey value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from framework.data import Split
from framework.randomness import Keys
from framework_plugins.data.binarize import Binarization, bit_split, fixed_sample, sample, scale, split, values_of

GREYS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)  # each grey value once


def examples(of: Split, counter: int = 0) -> Tensor:
    return of.examples(slice(None), Keys(0, "train", counter))


def test_none_scales_to_the_unit_interval_exactly() -> None:
    scaled = examples(split("none", GREYS, None, maximum=255))
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled.flatten(), torch.arange(256.0) / 255)
    assert scaled.max() == 1.0


@pytest.mark.parametrize(("maximum", "first_one"), [(255, 128), (16, 8), (1, 1)])
def test_threshold_is_at_one_half(maximum: int, first_one: int) -> None:
    pixels = torch.arange(maximum + 1, dtype=torch.uint8)
    bits = examples(split("threshold", pixels, None, maximum=maximum))
    assert bits.dtype == torch.float32
    assert torch.equal(bits, (pixels.double() / maximum >= 0.5).float())
    assert int(bits.argmax()) == first_one


def test_dynamic_has_the_pixels_intensity_as_its_mean() -> None:
    draws = 4_000
    torch.manual_seed(0)
    bits = sample(GREYS.expand(draws, 1, 16, 16), maximum=255)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert bits.dtype == torch.float32
    p = GREYS.double() / 255
    error = (bits.double().mean(dim=0, keepdim=True) - p).abs()
    standard_error = (p * (1 - p) / draws).sqrt()
    # 4 standard errors: the largest of 254 normal deviates passes them once in 60 seeds, and this seed is fixed. Black
    # and white pixels have no error at all.
    assert (error <= 4 * standard_error).all()
    assert error[0, 0, 0, 0] == error[0, 0, 15, 15] == 0
    # And all pixels together: the number of ones, whose standard error is sqrt(sum p (1 - p)).
    total, expected = bits.double().sum(), draws * p.sum()
    assert abs(total - expected) <= 4 * math.sqrt(draws * float((p * (1 - p)).sum()))


def test_dynamic_draws_anew_at_every_step_and_the_same_for_the_same_key() -> None:
    grey = torch.full((4, 1, 8, 8), 128, dtype=torch.uint8)
    training = split("dynamic", grey, None, maximum=255)
    assert torch.equal(examples(training, 3), examples(training, 3))
    assert not torch.equal(examples(training, 3), examples(training, 4))


def test_dynamic_for_evaluation_is_drawn_once() -> None:
    grey = torch.full((4, 1, 8, 8), 128, dtype=torch.uint8)
    evaluation = split("dynamic", grey, torch.arange(4), maximum=255, stream="mnist/validation")
    assert evaluation.inputs.dtype == torch.uint8
    assert torch.equal(examples(evaluation, 3), examples(evaluation, 4))
    assert torch.equal(examples(evaluation), fixed_sample(grey, maximum=255, stream="mnist/validation").float())
    assert not torch.equal(examples(evaluation), fixed_sample(grey, maximum=255, stream="mnist/test").float())
    assert evaluation.labels is not None
    assert torch.equal(evaluation.labels, torch.arange(4))


def test_the_fixed_draw_leaves_the_generator_alone_and_is_the_one_that_earlier_numbers_were_taken_on() -> None:
    grey = torch.full((24,), 128, dtype=torch.uint8)
    before = torch.get_rng_state()
    bits = fixed_sample(grey, maximum=255, stream="recorded").tolist()
    assert torch.equal(torch.get_rng_state(), before)
    # Recorded when it was written: a change here, or in torch's generator, makes old and new numbers incomparable.
    assert bits == [1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1]


def test_bits_are_given_as_they_are() -> None:
    bits = torch.tensor([[[[0, 1], [1, 0]]]], dtype=torch.uint8)
    given = examples(bit_split(bits, None))
    assert given.dtype == torch.float32
    assert given.tolist() == [[[[0.0, 1.0], [1.0, 0.0]]]]


def test_the_pixels_are_left_as_they_were() -> None:
    pixels = GREYS.clone()
    for transform in (scale, sample):
        transform(pixels, maximum=255)
        transform(floats := pixels.float(), maximum=255)
        assert torch.equal(floats, pixels.float())
    assert torch.equal(pixels, GREYS)


@pytest.mark.parametrize(("how", "values"), [("none", "unit_interval"), ("threshold", "binary"), ("dynamic", "binary")])
def test_the_range_is_told(how: Binarization, values: str) -> None:
    assert values_of(how) == values
