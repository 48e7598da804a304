"""The convolutional encoder."""

from __future__ import annotations

import pytest
import torch

from framework.distributions import Delta, DiagonalGaussian
from framework_plugins.encoders.conv import ConvEncoder


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (2, 1, 1)], ids=str)
@pytest.mark.parametrize(("posterior", "family"), [("gaussian", DiagonalGaussian), ("deterministic", Delta)])
def test_events_are_latents_whatever_the_images_size(
    input_shape: tuple[int, ...], posterior: str, family: type
) -> None:
    encoder = ConvEncoder(input_shape=input_shape, latent_dim=5, channels=[3, 4], posterior=posterior)
    q = encoder(torch.zeros(2, *input_shape))
    assert type(q) is family
    assert (q.batch_shape, q.event_shape) == ((2,), (5,))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a convolution needs images of shape .*, found \(12,\); use mlp"):
        ConvEncoder(input_shape=(12,), latent_dim=5, channels=[3])


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^channels: expected 1 or more for each layer, and a layer at least, found "):
        ConvEncoder(input_shape=(1, 8, 8), latent_dim=5, channels=[])
