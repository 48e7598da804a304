"""Every registered encoder, decoder, prior and divergence obeys the laws of `framework.testing`."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

import framework_plugins  # noqa: F401  (registers the parts)
from framework.decoder import decoders
from framework.divergence import divergences
from framework.encoder import encoders
from framework.options import REQUIRED, alternatives, options_of
from framework.prior import priors
from framework.registry import Entry, Registry
from framework.testing import check_decoder, check_divergence, check_encoder, check_prior
from framework_plugins.optimizers.adam import adam

LATENT_DIM = 3
IMAGE = (2, 5, 6)
# What a constructor requires beside its context, by (kind, name); a new part with such options needs a line here.
# A critic's optimiser is built later, with the critic's parameters: its option is a function.
REQUIRED_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("encoder", "mlp"): {"hidden": [8]},
    ("encoder", "conv"): {"channels": [4, 4]},
    ("decoder", "mlp"): {"hidden": [8]},
    ("decoder", "conv"): {"channels": [4, 4]},
    ("divergence", "adversarial"): {"hidden": [8], "optimizer": partial(adam, lr=1e-3)},
    ("divergence", "density_ratio_total_correlation"): {"hidden": [8], "optimizer": partial(adam, lr=1e-3)},
    ("divergence", "beta"): {"beta": 4.0, "of": "kl"},
    ("divergence", "infovae"): {"alpha": 0.0, "lambda": 10.0, "of": "mmd"},
}
# Choices that belong to others: the combinations that a constructor refuses are tested beside it.
FREE = {"posterior", "scale", "likelihood", "kernel", "statistic", "estimate", "bound"}


def cases(registry: Registry[Any]) -> list[Any]:
    """Each registered part, once for each combination of its closed choices."""
    found = []
    for entry in registry:
        choices = {
            name: get_args(choice)
            for name, option in options_of(entry.factory).items()
            for choice in alternatives(option.annotation)
            if get_origin(choice) is Literal and name in FREE
        }
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            found.append(pytest.param(entry, chosen, id="-".join([entry.name, *values])))
    assert len(found) >= len(registry.names()) > 0
    return found


def make(entry: Entry, chosen: dict[str, Any], **context: Any) -> Any:
    options = options_of(entry.factory)
    given = {**REQUIRED_OPTIONS.get((entry.kind, entry.name), {}), **chosen}
    if isinstance(given.get("of"), str):
        given["of"] = make(divergences[given["of"]], {}, **context)
    known = {**context, **given}
    missing = [name for name, option in options.items() if option.default is REQUIRED and name not in known]
    assert not missing, f"{entry.kind} {entry.name!r} requires {missing}: add a line to REQUIRED_OPTIONS"
    torch.manual_seed(0)
    return entry.factory(**{option.parameter: known[name] for name, option in options.items() if name in known})


CONTEXT = {"input_shape": IMAGE, "latent_dim": LATENT_DIM, "dataset_size": 100}


@pytest.mark.parametrize(("entry", "chosen"), cases(encoders))
def test_encoder(entry: Entry, chosen: dict[str, Any]) -> None:
    check_encoder(make(entry, chosen, **CONTEXT), IMAGE, latent_dim=LATENT_DIM)


@pytest.mark.parametrize(("entry", "chosen"), cases(decoders))
def test_decoder(entry: Entry, chosen: dict[str, Any]) -> None:
    check_decoder(make(entry, chosen, **CONTEXT), IMAGE, latent_dim=LATENT_DIM)


@pytest.mark.parametrize(("entry", "chosen"), cases(priors))
def test_prior(entry: Entry, chosen: dict[str, Any]) -> None:
    encoder = make(encoders["mlp"], {}, **CONTEXT)
    check_prior(make(entry, chosen, **CONTEXT, encoder=encoder), latent_dim=LATENT_DIM)


@pytest.mark.parametrize(("entry", "chosen"), cases(divergences))
def test_divergence(entry: Entry, chosen: dict[str, Any]) -> None:
    check_divergence(make(entry, chosen, **CONTEXT), latent_dim=LATENT_DIM)


def test_the_table_names_parts_that_exist() -> None:
    registered = {
        (registry.kind, entry.name) for registry in (encoders, decoders, priors, divergences) for entry in registry
    }
    assert set(REQUIRED_OPTIONS) <= registered
