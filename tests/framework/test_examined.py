"""The examples that a model is judged on, and how many are decoded together."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.distributions import Distribution

from framework import examined as module
from framework import latent_numbers
from framework.data import Facts
from framework.divergence import Term
from framework.examined import Examined, generated, squared_error
from framework.latent_numbers import importance_of
from framework.learners.latent import Latent
from framework.waiting import at_once
from framework_plugins.decoders.mlp import MLPDecoder
from framework_plugins.divergences.kl import KL
from framework_plugins.encoders.mlp import MLPEncoder
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.standard_normal import StandardNormal

SHAPE = (1, 2, 2)  # 4 values: 1,024 logits


def of_bytes() -> Latent:
    torch.manual_seed(0)
    learner = Latent(
        facts=Facts(SHAPE, 10, "unit_interval"),
        latent_dim=2,
        encoder=MLPEncoder(input_shape=SHAPE, latent_dim=2, hidden=[4]),
        decoder=MLPDecoder(input_shape=SHAPE, latent_dim=2, hidden=[4], likelihood="categorical"),
        prior=StandardNormal(latent_dim=2),
        divergences={"kl": Term(KL())},
        optimizer=functools.partial(adam, lr=1e-3),
    )
    return learner.eval()


def sizes_of(decoder: nn.Module) -> list[int]:
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], likelihood: Distribution) -> None:
        sizes.append(len(inputs[0]))

    decoder.register_forward_hook(note)
    return sizes


def test_what_the_decoder_puts_out_bounds_how_many_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = of_bytes()
    held = Examined(torch.randint(256, (10, *SHAPE), generator=torch.Generator().manual_seed(1)) / 255)
    errors = squared_error(learner, held)
    monkeypatch.setattr(module, "VALUES", 3 * 1_024)
    sizes = sizes_of(learner.decoder)
    torch.testing.assert_close(squared_error(learner, held), errors)
    assert len(generated(learner, held, seed=0, draws=True)) == 10
    found = importance_of(learner, held, samples=7, seed=0, track=at_once)
    assert found.log_likelihood.shape == (10,)
    assert max(sizes) == 3
    monkeypatch.setattr(latent_numbers, "EXAMPLES_AT_ONCE", 2)
    assert importance_of(learner, held, samples=7, seed=0, track=at_once).log_likelihood.shape == (10,)
    assert max(sizes) == 3
