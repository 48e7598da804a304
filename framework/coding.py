"""Examples to codes and back, a bounded number at a time.

Legend: N examples, B examples at a time, D latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.discrete import code_of
from framework.distribution_size import numbers_an_event
from framework.factors import kl_of_factors
from framework.learners.latent import Latent
from framework.tiles import shrink

BATCH = 500  # examples through a network at a time,
VALUES = 2**22  # and numbers in them


@contextmanager
def evaluating(learner: nn.Module) -> Iterator[None]:
    """Put all modules in evaluation mode, and afterwards each back in its own."""
    training = [module for module in learner.modules() if module.training]
    learner.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True)
class Coded:
    """What a learner makes of examples.

    Args:
        codes: [N, D], see `code_of`.
        means: [N, D], the posteriors' means: of discrete latents, probabilities.
        nats: [N], −log p(x|z) at the code.
        kl: [F], nats: the mean over the examples of the KL divergence of each of the posterior's factors from the
            prior's; None where there is no such closed form. See `factor`.
    """

    codes: Tensor
    means: Tensor
    nats: Tensor
    kl: Tensor | None


@torch.no_grad()
def encode(learner: Latent, examples: Tensor, labels: Tensor | None) -> Coded:
    """Return what a learner makes of examples [N, *input_shape], N at least 1, with labels [N] or None."""
    codes: list[Tensor] = []
    means: list[Tensor] = []
    nats: list[Tensor] = []
    kl: list[Tensor] = []
    p = learner.prior()
    start, most = 0, 1
    while start < len(examples):
        rows = slice(start, start + most)
        x, y = examples[rows], None if labels is None else labels[rows]
        q = learner.posterior(x, y)
        z = code_of(q)
        codes.append(z)
        means.append(q.mean)
        likelihood = learner.likelihood(z, y)
        nats.append(-likelihood.log_prob(x))
        start, most = rows.stop, _most(likelihood)
        divergence = kl_of_factors(q, p)  # [B, F]
        if divergence is not None:
            kl.append(divergence.double().sum(0))
    total = torch.stack(kl).sum(0) / len(examples) if kl else None  # [F]
    return Coded(torch.cat(codes), torch.cat(means), torch.cat(nats), total)


@torch.no_grad()
def decode(learner: Latent, z: Tensor, labels: Tensor | None) -> Tensor:
    """Return means of p(x|z) for latents [N, D] with labels [N] or None, to be drawn: large images are made smaller."""
    return torch.cat([shrink(likelihood.mean) for likelihood in likelihoods(learner, z, labels)])


def likelihoods(learner: Latent, z: Tensor, labels: Tensor | None) -> Iterator[Distribution]:
    """Yield p(x|z) of a bounded number of latents at a time, for latents [N, D] with labels [N] or None."""
    start, most = 0, 1
    while start < len(z):
        rows = slice(start, start + most)
        likelihood = learner.likelihood(z[rows], None if labels is None else labels[rows])
        yield likelihood
        start, most = rows.stop, _most(likelihood)


def _most(likelihood: Distribution) -> int:
    """Return how many examples to decode at a time: the first one, decoded alone, has told how large they are."""
    return max(1, min(BATCH, VALUES // numbers_an_event(likelihood)))
