"""The examples that a latent-variable model is judged on, and what its encoder makes of them.

Legend: N examples, M of a batch, D latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.data import Split
from framework.distribution_size import numbers_an_event
from framework.learners.latent import Latent
from framework.randomness import Keys, permutation

STREAM = "fw evaluate"  # no stream of training's
AT_ONCE = 500  # examples through a network, at most,
VALUES = 2**21  # and numbers in what the decoder puts out for them: for little memory


@dataclass(frozen=True)
class Examined:
    """Examples, with their labels where there are any.

    Args:
        examples: [N, *input_shape], on the learner's device and of its type.
        labels: [N] int64, or None.
        told: whether the learner is conditional, so that its encoder and decoder are told the labels.
    """

    examples: Tensor
    labels: Tensor | None = None
    told: bool = False

    def __len__(self) -> int:
        return len(self.examples)

    def block(self, rows: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Return some examples and what a learner is told of them: their labels, or None."""
        return self.examples[rows], self.labels[rows] if self.told and self.labels is not None else None


def examined(split: Split, learner: Latent, *, most: int | None = None) -> Examined:
    """Return the examples of a split, in a fixed random order; bits that are drawn are the same at each call.

    Args:
        split: the examples.
        learner: whose device and type they are to have.
        most: how many at most; None is all.
    """
    like = next(learner.parameters())
    order = permutation(len(split), seed=0, epoch=0)[:most]
    blocks = [
        split.examples(rows.to(split.inputs.device), Keys(0, STREAM, index)).to(like)
        for index, rows in enumerate(order.split(1_000))
    ]
    labels = None if split.labels is None else split.labels[order.to(split.labels.device)].to(like.device)
    return Examined(torch.cat(blocks), labels, learner.takes_labels)


@torch.inference_mode()
def encoded(learner: Latent, held: Examined, batch_size: int, seed: int) -> Iterator[tuple[Distribution, Tensor]]:
    """Yield the posteriors q(z|x) of batches of M examples, and a draw of each, [M, D]."""
    for index, start in enumerate(range(0, len(held), batch_size)):
        keys = Keys(seed, f"{STREAM}/codes", index)
        with keys("encode"):
            q = learner.posterior(*held.block(slice(start, start + batch_size)))
        with keys("z"):
            yield q, q.sample()


@torch.inference_mode()
def decoded_at_once(learner: Latent, held: Examined, most: int) -> int:
    """Return how many latents to decode together, 1 to `most`, so that what comes out has no more than 2²¹ numbers.

    What the decoder puts out may be much larger than an example: by 256, where each value has a logit for each level.
    """
    _, told = held.block(slice(0, 1))
    z = held.examples.new_zeros(1, learner.latent_dim)
    return max(1, min(most, VALUES // numbers_an_event(learner.likelihood(z, told))))


@torch.inference_mode()
def means_of(learner: Latent, held: Examined) -> Tensor:
    """Return the posteriors' means, [N, D]."""
    return torch.cat([q.mean for q, _ in encoded(learner, held, AT_ONCE, 0)])


@torch.inference_mode()
def squared_error(learner: Latent, held: Examined) -> Tensor:
    """Return the mean squared error a pixel of each example's reconstruction, [N] float64, in the data's unit squared.

    The reconstruction is the mean of p(x|z) at the posterior's mean, of discrete latents at its mode.
    """
    errors = []
    at_once = decoded_at_once(learner, held, AT_ONCE)
    for index, start in enumerate(range(0, len(held), at_once)):
        x, told = held.block(slice(start, start + at_once))
        with Keys(0, f"{STREAM}/reconstruction", index)("encode"):
            errors.append((learner.reconstruct(x, told) - x).square().flatten(1).mean(1).double())
    return torch.cat(errors)


@torch.inference_mode()
def generated(learner: Latent, held: Examined, *, seed: int, draws: bool) -> Tensor:
    """Return as many new examples as are held, [N, *input_shape]: draws of p(x|z), or its means, with z from the prior.

    A conditional model is told the labels that are held.
    """
    p: Distribution = learner.prior()
    blocks = []
    at_once = decoded_at_once(learner, held, AT_ONCE)
    for index, start in enumerate(range(0, len(held), at_once)):
        x, told = held.block(slice(start, start + at_once))
        keys = Keys(seed, f"{STREAM}/samples", index)
        with keys("z"):
            z = p.sample(torch.Size((len(x),)))  # [B, D]
        with keys("x"):
            likelihood = learner.likelihood(z, told)
            blocks.append(likelihood.sample() if draws else likelihood.mean)
    return torch.cat(blocks)
