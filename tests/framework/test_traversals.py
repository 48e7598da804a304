"""One latent changed at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Distribution, OneHotCategorical

from framework.coding import Coded
from framework.discrete import OneHotLogits
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian
from framework.traversals import changes, draw_traversals, leading, traversals


def coded(means: torch.Tensor, kl: torch.Tensor | None) -> Coded:
    return Coded(codes=means, means=means, nats=torch.zeros(len(means)), kl=kl)


@pytest.mark.parametrize("q", [DiagonalGaussian(torch.zeros(1, 3), torch.zeros(1, 3)), Delta(torch.zeros(1, 3))])
def test_a_coordinate_goes_from_minus_3_to_3(q: Distribution) -> None:
    to = changes(q)
    assert to is not None
    np.testing.assert_allclose(to.values[:, 0], np.linspace(-3, 3, 11), atol=1e-6)  # float32
    assert to.names[0] == "−3.0"
    assert to.names[5] == "0.0"
    code = torch.tensor([0.1, 0.2, 0.3])
    rows = traversals(code, [2, 0], to)  # [2, 11, 3]
    assert torch.equal(rows[0, :, :2], code[:2].expand(11, 2))
    assert torch.equal(rows[0, :, 2], to.values[:, 0])
    assert torch.equal(rows[1, :, 1:], code[1:].expand(11, 2))
    assert torch.equal(rows[1, :, 0], to.values[:, 0])
    assert torch.equal(code, torch.tensor([0.1, 0.2, 0.3]))  # left as it was


def test_a_bit_is_0_and_1() -> None:
    to = changes(BernoulliLogits(torch.zeros(1, 3)))
    assert to is not None
    assert traversals(torch.tensor([1.0, 0.0, 1.0]), [1], to).tolist() == [[[1, 0, 1], [1, 1, 1]]]


def test_a_variable_takes_each_of_its_categories() -> None:
    to = changes(OneHotLogits(torch.zeros(1, 2, 3)))
    assert to is not None
    rows = traversals(torch.tensor([1.0, 0, 0, 0, 0, 1]), [1], to)
    assert rows.tolist() == [[[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1]]]


def test_discrete_latents_of_an_unknown_kind_are_left_as_they_are() -> None:
    assert changes(OneHotCategorical(logits=torch.zeros(1, 3), validate_args=False)) is None


def test_the_latents_of_largest_divergence_come_first_and_are_at_most_ten() -> None:
    kl = torch.arange(12.0).roll(5)
    found = leading(coded(torch.zeros(4, 12), kl), width=1)
    assert [value for _, value, _ in found] == list(range(11, 1, -1))
    assert [kl[latent].item() for latent, *_ in found] == [value for _, value, _ in found]
    assert {word for *_, word in found} == {"KL"}


@pytest.mark.parametrize("width", [1, 2])
def test_without_a_divergence_they_are_those_of_largest_variance(width: int) -> None:
    means = torch.tensor([[0.0, 1.0, 5.0, 9.0], [0.0, 3.0, 5.0, 1.0]])
    variances = means.double().numpy().var(0).reshape(-1, width).sum(1)  # numpy's: 0, 1, 0, 16
    found = leading(coded(means, None), width)
    assert [(latent, value) for latent, value, _ in found] == sorted(enumerate(variances), key=lambda one: -one[1])
    assert {word for *_, word in found} == {"variance"}


def test_each_latent_has_a_row_with_its_name() -> None:
    to = changes(BernoulliLogits(torch.zeros(1, 12)))
    assert to is not None
    values = torch.tensor([0.1, 0.3, 0.5, 0.7])
    images = values[:, None, None, None].expand(-1, 1, 2, 2)
    axes = draw_traversals(images, [(11, 0.5, "KL"), (0, 0.25, "KL")], to, (0.0, 1.0)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["z₁₂  KL 0.50", "z₁  KL 0.25"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]
    shown = np.asarray(axes.images[0].get_array())
    side = shown.shape[0] // 2
    tiles = shown[side // 2 :: side, side // 2 :: side].squeeze()
    np.testing.assert_allclose(tiles[:, :2], values.reshape(2, 2), atol=1e-6)  # float32
    assert (tiles[:, 2:] == 1).all()  # blank
