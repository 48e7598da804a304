"""Keyed randomness: every draw is a function of (seed, stream, counter), so a resumed run repeats an unbroken one."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from framework.share import WHOLE, Share

_MASK = 2**64 - 1


def key(seed: int, stream: str, counter: int) -> int:
    """Return a 63-bit generator seed for (seed, stream, counter); that two should agree is a matter of 2⁻⁶³.

    The low bits are as good as the high ones, and must be: torch's generator on the CPU takes the lowest 32 alone. The
    three are mixed by the SplitMix64 finaliser, whose output bits each depend on every input bit: neighbouring counters
    give unrelated generators.

    Reference: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, figure 17.
    """
    mixed = (_stream_key(seed, stream) + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) >> 1


@lru_cache(maxsize=1024)
def _stream_key(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "little")


def rekey(seed: int, stream: str, counter: int) -> None:
    """Seed torch's default generators, of the CPU and of every device in use, with the key.

    `torch.manual_seed` would do the same at two hundred times the cost: it also looks for devices that are not there.
    """
    number = key(seed, stream, counter)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        for generator in torch.cuda.default_generators:
            generator.manual_seed(number)


@dataclass(frozen=True)
class Keys:
    """The keys of one step: calling it with a site's name re-keys the default generators for the draws of that site.

    Each site (`data`, `encode`, `z`, `decode`, `divergence/<label>`, `critic/<label>`) has a key of its own, so that
    adding a term to an objective does not change the noise of another, and whatever a plugin draws at its site is
    covered.

        keys("divergence/mmd")        # what follows is drawn for the whole batch, the same on all processes
        with keys("encode"):          # one row an example: a process draws what one process would for its rows
            q = encoder(x)

    Args:
        seed: the run's seed.
        stream: `train`, `validation`, `test`, …
        counter: the optimiser step, or the batch's index in an evaluation.
        share: which part of the batch the examples here are; by default all of it.
    """

    seed: int
    stream: str
    counter: int
    share: Share = WHOLE

    def __call__(self, site: str) -> AbstractContextManager[object]:
        rekey(self.seed, f"{self.stream}/{site}", self.counter)
        return self.share.draws()


def permutation(size: int, seed: int, epoch: int) -> Tensor:
    """Return the order of an epoch's examples, [size] int64: a function of (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(key(seed, "order", epoch))
    return torch.randperm(size, generator=generator)
