"""The residual encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from framework_plugins.encoders.resnet import ResNetEncoder


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (2, 1, 1)], ids=str)
def test_posteriors_have_the_latents_shape(input_shape: tuple[int, ...]) -> None:
    q = ResNetEncoder(input_shape=input_shape, latent_dim=5, channels=[4, 3])(torch.zeros(2, *input_shape))
    assert (q.batch_shape, q.event_shape) == ((2,), (5,))


def test_options_reach_the_layers() -> None:
    encoder = ResNetEncoder(
        input_shape=(1, 8, 8), latent_dim=2, channels=[4, 6], blocks=3, activation="silu", posterior="deterministic"
    )
    # In each of two stages a halving convolution and six in three blocks.
    assert sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) == 14
    assert sum(isinstance(module, nn.SiLU) for module in encoder.modules()) == 13
    assert encoder.posterior.linear.out_features == 2


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a convolution needs images of shape .*, found \(12,\); use mlp"):
        ResNetEncoder(latent_dim=5, input_shape=(12,), channels=[3])
