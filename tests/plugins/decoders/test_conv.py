"""The decoder of transposed convolutions."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from framework.testing import check_decoder
from framework_plugins.decoders.conv import ConvDecoder
from framework_plugins.decoders.likelihood import LikelihoodName


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("likelihood", get_args(LikelihoodName))
def test_events_have_the_images_shape(input_shape: tuple[int, ...], likelihood: str) -> None:
    decoder = ConvDecoder(latent_dim=5, input_shape=input_shape, channels=[4, 3], likelihood=likelihood)
    p = decoder(torch.zeros(2, 5))
    assert (p.batch_shape, p.event_shape) == ((2,), input_shape)
    assert p.log_prob(torch.ones(2, *input_shape)).shape == (2,)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a convolution needs images of shape .*, found \(12,\); use mlp"):
        ConvDecoder(latent_dim=5, input_shape=(12,), channels=[3])


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^channels: expected 1 or more for each layer, and a layer at least, found "):
        ConvDecoder(latent_dim=5, input_shape=(1, 8, 8), channels=[])


def test_it_obeys_the_laws_with_the_optimal_sigma() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(latent_dim=3, input_shape=(2, 5, 6), channels=[4], likelihood="gaussian", sigma="optimal")
    check_decoder(decoder, (2, 5, 6))
