"""The decoder of fully connected layers."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from framework_plugins.decoders.likelihood import LikelihoodName
from framework_plugins.decoders.mlp import MLPDecoder


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (12,)], ids=str)
@pytest.mark.parametrize("likelihood", get_args(LikelihoodName))
def test_events_have_the_examples_shape(input_shape: tuple[int, ...], likelihood: str) -> None:
    decoder = MLPDecoder(latent_dim=5, input_shape=input_shape, hidden=[7], likelihood=likelihood)
    p = decoder(torch.zeros(2, 5))
    assert (p.batch_shape, p.event_shape) == ((2,), input_shape)
    assert p.log_prob(torch.ones(2, *input_shape)).shape == (2,)
    assert p.mean.shape == (2, *input_shape)


def test_without_hidden_layers_it_is_linear() -> None:
    decoder = MLPDecoder(latent_dim=2, input_shape=(2, 3), hidden=[], likelihood="gaussian")
    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    linear = decoder.trunk[0][0]
    assert torch.equal(decoder(z).mean, linear(z).view(4, 2, 3))


def test_options_reach_the_layers() -> None:
    decoder = MLPDecoder(
        latent_dim=2, input_shape=(3,), hidden=[4, 5], activation="elu", likelihood="gaussian", sigma=0.5
    )
    assert [tuple(weight.shape) for weight in decoder.parameters() if weight.dim() == 2] == [(4, 2), (5, 4), (3, 5)]
    assert sum(isinstance(module, torch.nn.ELU) for module in decoder.modules()) == 2
    assert torch.equal(decoder(torch.zeros(1, 2)).stddev, torch.full((1, 3), 0.5))
