"""The encoder of fully connected layers."""

from __future__ import annotations

import pytest
import torch

from framework.distributions import Delta, DiagonalGaussian
from framework_plugins.encoders.mlp import MLPEncoder


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), (3, 17, 9), (12,)], ids=str)
@pytest.mark.parametrize(("posterior", "family"), [("gaussian", DiagonalGaussian), ("deterministic", Delta)])
def test_events_are_latents_whatever_the_examples_are(
    input_shape: tuple[int, ...], posterior: str, family: type
) -> None:
    q = MLPEncoder(input_shape=input_shape, latent_dim=5, hidden=[7], posterior=posterior)(torch.zeros(2, *input_shape))
    assert type(q) is family
    assert (q.batch_shape, q.event_shape) == ((2,), (5,))


def test_without_hidden_layers_it_is_linear() -> None:
    encoder = MLPEncoder(input_shape=(2, 3), latent_dim=2, hidden=[])
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    outputs = encoder.posterior.linear(x.flatten(1))
    q = encoder(x)
    assert torch.equal(q.mean, outputs[:, :2])
    assert torch.equal(q.log_scale, outputs[:, 2:])


def test_options_reach_the_layers() -> None:
    encoder = MLPEncoder(input_shape=(3,), latent_dim=2, hidden=[4, 5], activation="gelu", scale="softplus")
    shapes = [tuple(parameter.shape) for parameter in encoder.parameters() if parameter.dim() == 2]
    assert shapes == [(4, 3), (5, 4), (4, 5)]
    assert sum(isinstance(module, torch.nn.GELU) for module in encoder.modules()) == 2
    assert encoder.posterior.scale == "softplus"
