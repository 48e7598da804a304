"""Every registered encoder, decoder, prior, divergence, policy and trunk obeys the laws of `framework.testing`."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

import framework_plugins  # noqa: F401  (registers the parts)
from framework.decoder import decoders
from framework.divergence import divergences
from framework.encoder import encoders
from framework.errors import OptionError
from framework.options import REQUIRED, options_of
from framework.policy import policies
from framework.prior import priors
from framework.registry import Entry, Registry, registry_of
from framework.testing import (
    check_decoder,
    check_divergence,
    check_encoder,
    check_policy,
    check_prior,
    check_trunk,
)
from framework.trunk import trunks
from framework_plugins.optimizers.adam import adam

LATENT_DIM = 3
IMAGE = (2, 5, 6)
# What a constructor requires beside its context, by (kind, name); a new part with such options needs a line here.
# A critic's optimiser is built later, with the critic's parameters: its option is a function.
REQUIRED_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("encoder", "mlp"): {"hidden": [8]},
    ("encoder", "conv"): {"channels": [4, 4]},
    ("encoder", "resnet"): {"channels": [4, 8]},
    ("encoder", "corrupted"): {"noise": "gaussian", "amount": 0.3, "of": "mlp"},
    ("decoder", "mlp"): {"hidden": [8]},
    ("decoder", "conv"): {"channels": [4, 4]},
    ("decoder", "resnet"): {"channels": [8, 4]},
    ("decoder", "autoregressive"): {"hidden": [8]},
    ("divergence", "adversarial"): {"hidden": [8], "optimizer": partial(adam, lr=1e-3)},
    ("divergence", "density_ratio_total_correlation"): {"hidden": [8], "optimizer": partial(adam, lr=1e-3)},
    ("divergence", "beta"): {"beta": 4.0, "of": "kl"},
    ("divergence", "infovae"): {"alpha": 0.0, "lambda": 10.0, "of": "mmd"},
    ("prior", "categorical"): {"categories": LATENT_DIM},
    ("policy", "epsilon_greedy"): {"epsilon": 0.1},
    ("policy", "epsilon_soft"): {"epsilon": 0.1, "of": "categorical"},
    ("policy", "upper_confidence_bound"): {"c": 2.0},
    ("trunk", "conv"): {"channels": [4, 4]},
    ("trunk", "mlp"): {"hidden": [8]},
}
# Choices that belong to others: the combinations that a constructor refuses are tested beside it.
FREE = {"posterior", "scale", "likelihood", "kernel", "statistic", "estimate", "bound", "kind", "sigma", "range"}
# What policies act in, and what is seen: each part is tried in those that it takes.
ACTIONS: list[Space[Any]] = [
    Discrete(3),
    MultiDiscrete([3, 1, 2]),
    MultiBinary(4),
    MultiBinary([2, 3]),
    Box(-math.inf, math.inf, (2, 3)),
]
OBSERVATIONS: list[Space[Any]] = [
    Discrete(5, start=-1),
    MultiDiscrete([2, 3], start=[1, 0]),
    MultiBinary([2, 2]),
    Box(-1.0, 1.0, (4,)),
    Box(-math.inf, math.inf, (2, 3), dtype=np.float64),
    Box(0, 255, (5, 6, 2), dtype=np.uint8),
    Box(-1.0, 1.0, (5, 6, 1)),
]


def cases(registry: Registry[Any]) -> list[Any]:
    """Each registered part, once for each combination of its closed choices."""
    found = []
    for entry in registry:
        choices = {
            name: get_args(option.annotation)
            for name, option in options_of(entry.factory).items()
            if get_origin(option.annotation) is Literal and name in FREE
        }
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            if chosen.get("scale") == "softplus" and chosen["posterior"] != "gaussian":
                continue  # refused: see the test of Posterior
            found.append(pytest.param(entry, chosen, id="-".join([entry.name, *values])))
    assert len(found) >= len(registry.names()) > 0
    return found


def make(entry: Entry, chosen: dict[str, Any], **context: Any) -> Any:
    options = options_of(entry.factory)
    given = {**REQUIRED_OPTIONS.get((entry.kind, entry.name), {}), **chosen}
    if chosen.get("posterior") == "categorical":
        given["categories"] = LATENT_DIM  # one variable
    if isinstance(given.get("of"), str):
        inner = registry_of(options["of"].annotation)
        assert inner is not None
        given["of"] = make(inner[given["of"]], {}, **context)
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
    check_prior(make(entry, chosen, **CONTEXT, encoder=encoder), latent_dim=LATENT_DIM, encoder=encoder)


@pytest.mark.parametrize(("entry", "chosen"), cases(divergences))
def test_divergence(entry: Entry, chosen: dict[str, Any]) -> None:
    check_divergence(make(entry, chosen, **CONTEXT), latent_dim=LATENT_DIM)


def takes(entry: Entry, **context: Any) -> bool:
    """Whether a part is for these spaces; its refusals are tested beside it."""
    try:
        make(entry, {}, **context)
    except OptionError:
        return False
    return True


@pytest.mark.parametrize(("entry", "chosen"), cases(policies))
def test_policy(entry: Entry, chosen: dict[str, Any]) -> None:
    spaces = [
        {"observation_space": seen, "action_space": action}
        for seen, action in itertools.product(OBSERVATIONS, ACTIONS)
        if takes(entry, observation_space=seen, action_space=action)
    ]
    if entry.factory.explores_values:
        spaces = [{"observation_space": Discrete(1), "action_space": Discrete(3)}]
    assert spaces, f"policy {entry.name!r} takes none of the spaces: add one"
    for context in spaces:
        check_policy(make(entry, chosen, **context), **context)


@pytest.mark.parametrize(("entry", "chosen"), cases(trunks))
def test_trunk(entry: Entry, chosen: dict[str, Any]) -> None:
    spaces = [space for space in OBSERVATIONS if takes(entry, observation_space=space)]
    assert spaces, f"trunk {entry.name!r} takes none of the spaces: add one"
    for space in spaces:
        check_trunk(make(entry, chosen, observation_space=space), space)


def test_the_table_names_parts_that_exist() -> None:
    tables = (encoders, decoders, priors, divergences, policies, trunks)
    registered = {(registry.kind, entry.name) for registry in tables for entry in registry}
    assert set(REQUIRED_OPTIONS) <= registered
