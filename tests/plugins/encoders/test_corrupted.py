"""The corrupted encoder: what the encoder inside it sees."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from framework import Encoder, Facts, OptionError
from framework.distributions import Delta
from framework.testing import check_encoder
from framework_plugins.encoders.corrupted import CorruptedEncoder
from framework_plugins.encoders.mlp import MLPEncoder


class Identity(Encoder):
    """All mass on the example itself: a look at what comes in."""

    def forward(self, x: Tensor) -> Distribution:
        return Delta(x)


def seen(noise: str, amount: float, x: Tensor, *, training: bool = True) -> Tensor:
    torch.manual_seed(0)
    return CorruptedEncoder(noise=noise, amount=amount, of=Identity()).train(training)(x).mean


def test_gaussian_noise_has_its_standard_deviation() -> None:
    x = torch.full((200, 500), 0.7)
    noise = seen("gaussian", 0.3, x) - x
    assert noise.mean().item() == pytest.approx(0, abs=4 * 0.3 / math.sqrt(1e5))
    assert noise.std().item() == pytest.approx(0.3, abs=4 * 0.3 / math.sqrt(2e5))
    assert len(noise.unique()) > 90_000  # each value has its own


def test_masked_values_are_zero_and_the_others_as_they_were() -> None:
    x = torch.rand(200, 500, generator=torch.Generator().manual_seed(1)) + 0.5
    x_seen = seen("masking", 0.3, x)
    kept = x_seen != 0
    assert torch.equal(x_seen[kept], x[kept])
    assert kept.float().mean().item() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / 1e5))


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
def test_nothing_is_corrupted_in_evaluation_and_never_in_place(noise: str) -> None:
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    assert torch.equal(seen(noise, 0.5, x, training=False), x)
    assert not torch.equal(seen(noise, 0.5, x), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
@pytest.mark.parametrize(
    ("shape", "seen_shape"), [((2, 4, 3), (3, 4, 3)), ((5,), (8,))], ids=["the plane of a class", "numbers of a class"]
)
def test_a_label_behind_the_data_is_not_corrupted(
    noise: str, shape: tuple[int, ...], seen_shape: tuple[int, ...]
) -> None:
    x = torch.rand(6, *seen_shape, generator=torch.Generator().manual_seed(1)) + 0.5
    torch.manual_seed(0)
    facts = Facts(shape, 9, "real", classes=3)
    x_seen = CorruptedEncoder(noise=noise, amount=0.5, of=Identity(), facts=facts)(x).mean
    width = shape[0]
    assert torch.equal(x_seen[:, width:], x[:, width:])
    assert torch.equal(x_seen[:, :width], seen(noise, 0.5, x[:, :width]))


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
@pytest.mark.parametrize("posterior", ["gaussian", "deterministic"])
def test_it_obeys_the_laws(noise: str, posterior: str) -> None:
    torch.manual_seed(0)
    inner = MLPEncoder(input_shape=(1, 2, 3), latent_dim=3, hidden=[8], posterior=posterior)
    check_encoder(CorruptedEncoder(noise=noise, amount=0.3, of=inner), (1, 2, 3))


@pytest.mark.parametrize(
    ("noise", "amount", "expected"),
    [
        ("gaussian", 0.0, "a number above 0"),
        ("masking", 0.0, r"a share in \(0, 1\)"),
        ("masking", 1.0, r"a share in \(0, 1\)"),
    ],
)
def test_an_amount_out_of_range_is_refused(noise: str, amount: float, expected: str) -> None:
    with pytest.raises(OptionError, match=rf"^amount: expected {expected}, found {amount}$"):
        CorruptedEncoder(noise=noise, amount=amount, of=Identity())
