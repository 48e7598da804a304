"""Keyed randomness: the same key gives the same draw, another key another one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch

from framework import randomness
from framework.randomness import Keys, key, permutation, rekey


@pytest.fixture(autouse=True)
def _generator_as_it_was() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def test_keys_differ_in_seed_stream_and_counter() -> None:
    streams = ["train/z", "train/encode", "validation/z", "order", "1/z", "z"]
    keys = {key(*one) for one in itertools.product(range(20), streams, range(50))}
    assert len(keys) == 20 * len(streams) * 50
    assert all(0 <= one < 2**63 for one in keys)


def test_seed_and_stream_do_not_run_into_each_other() -> None:
    assert key(1, "1/z", 0) != key(11, "/z", 0)
    assert key(1, "2", 3) != key(12, "", 3)


def test_key_is_splitmix64s_finaliser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mixer's published outputs for the seed 0: Vigna's splitmix64.c prints these as its first two numbers."""
    monkeypatch.setattr(randomness, "_stream_key", lambda seed, stream: 0)
    assert [key(0, "", counter) for counter in range(2)] == [0xE220A8397B1DCDAF >> 1, 0x6E789E6AA1B965F4 >> 1]


@pytest.mark.parametrize("bits", [32, 8], ids=["the 32 that torch's CPU generator takes", "the lowest 8"])
def test_low_bits_of_neighbouring_keys_look_random(bits: int) -> None:
    """Counters in a row give low bits that are spread evenly: a χ² of 256 cells within five standard deviations."""
    count = 25_600
    cells = torch.zeros(256)
    for counter in range(count):
        cells[(key(0, "train/z", counter) % 2**bits) >> (bits - 8)] += 1
    chi_squared = float(((cells - count / 256) ** 2 / (count / 256)).sum())
    assert abs(chi_squared - 255) < 5 * math.sqrt(2 * 255)


def test_torchs_cpu_generator_takes_the_low_32_bits() -> None:
    """Why the low bits matter: seeds that agree in them draw the same numbers."""
    draws = [torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5 + 2**32, 6)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_site_draws_the_same_numbers_again_whatever_was_drawn_before() -> None:
    keys = Keys(seed=3, stream="train", counter=17)
    keys("z")
    first = torch.randn(4)
    torch.randn(100)
    Keys(3, "train", 18)("divergence/mmd")
    keys("z")
    assert torch.equal(torch.randn(4), first)


@pytest.mark.parametrize(
    ("keys", "site"),
    [
        (Keys(4, "train", 17), "z"),
        (Keys(3, "validation", 17), "z"),
        (Keys(3, "train", 18), "z"),
        (Keys(3, "train", 17), "encode"),
    ],
    ids=["seed", "stream", "counter", "site"],
)
def test_another_seed_stream_counter_or_site_draws_others(keys: Keys, site: str) -> None:
    Keys(3, "train", 17)("z")
    first = torch.randn(4)
    keys(site)
    assert not torch.equal(torch.randn(4), first)


def test_draws_of_neighbouring_steps_are_uncorrelated() -> None:
    """The first number of each of 4,000 steps against the next step's: |r| < 4/√n."""
    draws = []
    for counter in range(4000):
        rekey(0, "train/z", counter)
        draws.append(torch.randn(()))
    x = torch.stack(draws).double()
    assert abs(float(torch.corrcoef(torch.stack([x[:-1], x[1:]]))[0, 1])) < 4 / math.sqrt(len(x))
    assert abs(float(x.mean())) < 4 / math.sqrt(len(x))
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / len(x))


def test_permutation_is_one_and_a_function_of_seed_and_epoch() -> None:
    order = permutation(1000, seed=1, epoch=2)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(1000))
    before = torch.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(permutation(1000, seed=1, epoch=2), order)
    torch.set_rng_state(before)
    permutation(1000, seed=1, epoch=2)
    assert torch.equal(torch.get_rng_state(), before)  # it draws from a generator of its own
    assert not torch.equal(permutation(1000, seed=2, epoch=2), order)
    assert not torch.equal(permutation(1000, seed=1, epoch=3), order)
