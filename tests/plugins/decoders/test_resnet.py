"""The residual decoder."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from framework_plugins.decoders.likelihood import LikelihoodName
from framework_plugins.decoders.resnet import ResNetDecoder


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 17, 9), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("likelihood", get_args(LikelihoodName))
def test_events_have_the_images_shape(input_shape: tuple[int, ...], likelihood: str) -> None:
    decoder = ResNetDecoder(latent_dim=5, input_shape=input_shape, channels=[4, 3], likelihood=likelihood)
    p = decoder(torch.zeros(2, 5))
    assert (p.batch_shape, p.event_shape) == ((2,), input_shape)
    assert p.log_prob(torch.ones(2, *input_shape)).shape == (2,)


def test_options_reach_the_layers() -> None:
    decoder = ResNetDecoder(latent_dim=2, input_shape=(1, 8, 8), channels=[4, 6], blocks=3, activation="silu")
    # In each of two stages six in three blocks and one that follows the copies, and the last.
    assert sum(isinstance(module, nn.Conv2d) for module in decoder.modules()) == 15
    assert sum(isinstance(module, nn.SiLU) for module in decoder.modules()) == 13


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a convolution needs images of shape .*, found \(12,\); use mlp"):
        ResNetDecoder(latent_dim=5, input_shape=(12,), channels=[3])
