"""Examples to codes and back."""

from __future__ import annotations

import math

import pytest
import torch

from framework import coding
from framework.coding import decode, encode
from framework.distributions import kl_divergence
from framework.tiles import shrink
from tests.framework.small_learners import make_learner


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_examples_are_encoded_as_if_all_at_once(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "BATCH", batch)
    learner = make_learner((1, 4, 4), 3)
    x = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = encode(learner, x, None)
    with torch.no_grad():
        q = learner.posterior(x)
        nats = -learner.likelihood(q.mean).log_prob(x)
        kl = kl_divergence(q, learner.prior(), q.mean)
    for one, other in ((found.codes, q.mean), (found.means, q.mean), (found.nats, nats)):
        torch.testing.assert_close(one, other)  # float32, in batches of another size
    assert found.kl is not None
    assert found.kl.shape == (3,)
    torch.testing.assert_close(found.kl.sum(), kl.double().mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(decode(learner, q.mean, None), learner.generate(q.mean).detach())


def test_no_more_numbers_go_through_a_network_at_a_time_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "VALUES", 100)
    learner = make_learner((1, 4, 4), 3)  # 16 numbers an example, so 6 examples at a time
    sizes: list[int] = []
    learner.encoder.register_forward_hook(lambda module, inputs, q: sizes.append(len(inputs[0])))
    learner.decoder.register_forward_hook(lambda module, inputs, p: sizes.append(len(inputs[0])))
    encode(learner, torch.rand(14, 1, 4, 4), None)
    assert sizes == [1, 1, 6, 6, 6, 6, 1, 1]  # the first tells how large what comes out is
    sizes.clear()
    assert len(decode(learner, torch.zeros(14, 3), None)) == 14
    assert sizes == [1, 6, 6, 1]


def test_large_images_come_back_smaller() -> None:
    learner = make_learner((1, 300, 300), 2)
    z = torch.randn(2, 2)
    with torch.no_grad():
        torch.testing.assert_close(decode(learner, z, None), shrink(learner.generate(z)), atol=1e-5, rtol=1e-4)


def test_nats_are_of_the_mode_where_latents_are_discrete() -> None:
    learner = make_learner((4,), 3, posterior="bernoulli")
    x = torch.zeros(5, 4)
    found = encode(learner, x, None)
    with torch.no_grad():
        q = learner.posterior(x)
    assert torch.equal(found.codes, q.mean.round())
    torch.testing.assert_close(found.means, q.mean)
    # a unit Gaussian of the decoder's mean, by hand
    with torch.no_grad():
        squares = (x - learner.generate(q.mean.round())).square().sum(1)
        torch.testing.assert_close(learner.reconstruct(x), learner.generate(q.mean.round()))
    torch.testing.assert_close(found.nats, 0.5 * squares + 2 * math.log(2 * math.pi))
