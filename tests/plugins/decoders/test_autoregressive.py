"""The autoregressive decoder."""

from __future__ import annotations

import itertools

import pytest
import torch

from framework import Counters, OptionError
from framework_plugins.decoders.autoregressive import AutoregressiveDecoder
from framework_plugins.optimizers.adam import adam


@pytest.mark.parametrize("input_shape", [(6,), (1, 2, 3), (1,), (2, 3, 1)], ids=str)
def test_events_have_the_examples_shape(input_shape: tuple[int, ...]) -> None:
    decoder = AutoregressiveDecoder(latent_dim=5, input_shape=input_shape, hidden=[4])
    p = decoder(torch.zeros(2, 5))
    assert (p.batch_shape, p.event_shape) == ((2,), input_shape)
    assert p.log_prob(torch.ones(2, *input_shape)).shape == (2,)
    assert p.sample().shape == p.mean.shape == (2, *input_shape)


def test_it_learns_pixels_that_depend_on_each_other_without_the_latents() -> None:
    """Three bits of even parity, four vectors: log 4 nats. Independent bits of any latent-free model cost 3 log 2."""
    x = torch.tensor([v for v in itertools.product([0.0, 1.0], repeat=3) if sum(v) % 2 == 0])  # [4, 3]
    torch.manual_seed(0)
    decoder = AutoregressiveDecoder(latent_dim=1, input_shape=(3,), hidden=[16], activation="tanh")
    optimizer = adam(decoder.parameters(), lr=0.03)
    z = torch.zeros(4, 1)
    for step in range(300):
        optimizer.algorithm.zero_grad()
        loss = -decoder(z).log_prob(x).mean()
        loss.backward()
        optimizer.step(Counters(optimizer_steps=step))
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=0.02)  # 3 log 2 is 0.69 above


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^hidden: expected 1 or more for each layer, found \[0\]$"):
        AutoregressiveDecoder(latent_dim=2, input_shape=(1, 2, 3), hidden=[0])
