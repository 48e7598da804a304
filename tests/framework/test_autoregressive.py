"""The masked network's dependencies, and its distribution against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import constraints

from framework import OptionError
from framework.autoregressive import AutoregressiveBernoulli, MaskedNetwork

HIDDEN = [[], [1], [4], [40], [9, 5], [3, 20, 7]]


def network(elements: int = 6, hidden: list[int] | None = None, activation: str = "tanh") -> MaskedNetwork:
    torch.manual_seed(0)
    hidden = [8, 5] if hidden is None else hidden
    part = MaskedNetwork(elements=elements, condition=2, hidden=hidden, activation=activation).double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_()
    return part


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def every_vector(elements: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=elements)), dtype=torch.float64)  # [2^P, P]


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gated", "maxout"])
def test_an_output_depends_on_the_elements_before_and_on_no_other(hidden: list[int], activation: str) -> None:
    """The Jacobian of the logits to x is strictly lower triangular, and full there; that to z is full."""
    part, z = network(hidden=hidden, activation=activation), latents()

    def logits(x: Tensor, z: Tensor) -> Tensor:
        return part.logits(x, part.conditions(z))

    to_x, to_z = torch.autograd.functional.jacobian(logits, (torch.rand(6, dtype=torch.float64), z))
    assert to_z.all()
    assert (to_x != 0).equal(torch.ones(6, 6).tril(-1).bool())  # by the direct connections at least


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("elements", [1, 2, 9])
def test_probabilities_sum_to_one(elements: int, hidden: list[int]) -> None:
    z = latents(3)
    p = AutoregressiveBernoulli(network(elements, hidden), z, (elements,))
    density = p.log_prob(every_vector(elements)[:, None])  # [2^P, 3]
    torch.testing.assert_close(density.exp().sum(0), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_density_is_the_product_of_the_conditionals() -> None:
    """p(x_i = 1 | before) is a ratio of sums over all vectors that begin alike."""
    p = AutoregressiveBernoulli(network(), latents(), (6,))
    x = every_vector(6)
    probability = p.log_prob(x).exp()
    found = p.network.logits(x, p.conditions).sigmoid()
    for element in range(6):
        alike = (x[:, None, :element] == x[None, :, :element]).all(-1).double()  # [2^P, 2^P]
        expected = (alike @ (probability * x[:, element])) / (alike @ probability)
        torch.testing.assert_close(found[:, element], expected, rtol=1e-10, atol=0)  # float64


@pytest.mark.parametrize("hidden", [[], [7], [8, 5]], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gated", "maxout"])
def test_samples_have_the_frequencies_of_their_probabilities(hidden: list[int], activation: str) -> None:
    p = AutoregressiveBernoulli(network(4, hidden, activation), latents(2), (2, 2))
    probability = p.log_prob(every_vector(4).view(16, 1, 2, 2)).exp()  # [16, 2]
    torch.manual_seed(2)
    count = 20_000
    x = p.sample((count,))
    assert x.shape == (count, 2, 2, 2)
    codes = (x.flatten(-2) @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)).long()  # [count, 2]
    for row in range(2):
        found = torch.bincount(codes[:, row], minlength=16) / count
        error = (probability[:, row] * (1 - probability[:, row]) / count).sqrt()
        assert ((found - probability[:, row]).abs() < 4.5 * error + 1e-4).all()  # of 32 frequencies


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gated", "maxout"])
def test_a_sample_is_drawn_by_the_conditionals_of_one_pass(hidden: list[int], activation: str) -> None:
    part = network(hidden=hidden, activation=activation)
    uniform = torch.rand(5, 3, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    conditions = part.conditions(latents(3))
    x, probability = part.ancestral(uniform, conditions)
    torch.testing.assert_close(probability, part.logits(x, conditions).sigmoid(), rtol=1e-12, atol=1e-12)
    assert torch.equal(x, (uniform < probability).double())


def test_the_mean_over_keys_is_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    p = AutoregressiveBernoulli(network(4), latents(2), (2, 2))
    x = every_vector(4).view(16, 1, 2, 2)
    expected = (p.log_prob(x).exp()[..., None, None] * x).sum(0)  # [2, 2, 2]
    means = []
    for key in range(1000):
        monkeypatch.setattr("framework.autoregressive._KEY", key)
        means.append(p.mean)
    means_of_keys = torch.stack(means)
    error = means_of_keys.std(0) / math.sqrt(1000)
    assert ((means_of_keys.mean(0) - expected).abs() < 4 * error + 1e-12).all()  # the first pixel's is exact


def test_the_mean_is_a_function_of_z_alone() -> None:
    part, z = network(), latents(4)
    state = torch.get_rng_state()
    whole = AutoregressiveBernoulli(part, z, (2, 3)).mean
    assert torch.equal(torch.get_rng_state(), state)
    assert whole.shape == (4, 2, 3)
    torch.testing.assert_close(AutoregressiveBernoulli(part, z[2:], (2, 3)).mean, whole[2:], rtol=1e-12, atol=1e-12)


def test_several_latents_an_example() -> None:
    """x [B, …] under latents [K, B, D], as importance sampling has them."""
    part, z = network(), latents(3, 5)
    x = (torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    p = AutoregressiveBernoulli(part, z, (2, 3))
    assert (p.batch_shape, p.event_shape) == ((3, 5), (2, 3))
    found = p.log_prob(x)
    for k in range(3):
        torch.testing.assert_close(found[k], AutoregressiveBernoulli(part, z[k], (2, 3)).log_prob(x))


def test_what_it_says_of_itself() -> None:
    support = AutoregressiveBernoulli(network(), latents(2), (2, 3)).support
    assert isinstance(support, constraints.independent)
    assert support.base_constraint is constraints.boolean
    assert support.event_dim == 2


def test_extreme_logits_stay_finite() -> None:
    part = network().float()
    p = AutoregressiveBernoulli(part, 1e6 * latents(2).float(), (6,))
    assert p.log_prob(torch.ones(2, 6)).isfinite().all()
    assert p.mean.isfinite().all()


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^hidden: expected 1 or more for each layer, found \[4, 0\]$"):
        MaskedNetwork(elements=6, condition=2, hidden=[4, 0])
