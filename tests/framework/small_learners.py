"""Latent learners that nobody has trained."""

from __future__ import annotations

from typing import Literal

import torch

from framework import Facts, Prior, Term
from framework.conditioning import contexts
from framework.learners.latent import Latent
from framework_plugins.decoders.mlp import MLPDecoder
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.encoders.mlp import MLPEncoder
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.bernoulli import Bernoulli
from framework_plugins.priors.categorical import Categorical
from framework_plugins.priors.standard_normal import StandardNormal


def make_learner(
    shape: tuple[int, ...],
    latent_dim: int,
    *,
    posterior: Literal["gaussian", "deterministic", "bernoulli", "categorical"] = "gaussian",
    classes: int | None = None,
) -> Latent:
    """Return a learner of examples of a shape, with a Gaussian likelihood; conditional where there are classes.

    A categorical posterior is of variables of two categories.
    """
    torch.manual_seed(0)
    facts = Facts(shape, 40, "real", classes=classes)
    of_part = contexts(facts, {"conditional": classes is not None, "latent_dim": latent_dim})
    categories = 2 if posterior == "categorical" else None
    priors: dict[str, Prior] = {"bernoulli": Bernoulli(latent_dim=latent_dim)}
    if categories:
        priors["categorical"] = Categorical(latent_dim=latent_dim, categories=categories)
    return Latent(
        facts=facts,
        latent_dim=latent_dim,
        encoder=MLPEncoder(
            **{"input_shape": shape, **of_part.get("encoder", {})},
            latent_dim=latent_dim,
            hidden=[16],
            posterior=posterior,
            categories=categories,
        ),
        decoder=MLPDecoder(
            **{"latent_dim": latent_dim, **of_part.get("decoder", {})},
            input_shape=shape,
            hidden=[16],
            likelihood="gaussian",
        ),
        prior=priors.get(posterior, StandardNormal(latent_dim=latent_dim)),
        divergences={"mmd": Term(MMD(latent_dim=latent_dim))} if posterior == "deterministic" else {"kl": Term(KL())},
        optimizer=adam,
        estimator="straight_through" if posterior in ("bernoulli", "categorical") else "pathwise",
        conditional=classes is not None,
    )
