"""What simple classifiers read off codes whose labels are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from framework.probes import linear_probe, nearest_neighbours


def two_gaussians(count: int, seed: int, distance: float) -> tuple[Tensor, Tensor]:
    """Codes [N, 2] whose first coordinate has a mean of ±distance/2 by label."""
    torch.manual_seed(seed)
    labels = torch.arange(count) % 2
    codes = torch.randn(count, 2)
    codes[:, 0] += distance * (labels - 0.5)
    return codes, labels


def test_a_linear_probe_comes_to_the_best_there_is() -> None:
    found = linear_probe(*two_gaussians(2_000, 0, 2.0), *two_gaussians(4_000, 1, 2.0))
    best = float(Normal(0.0, 1.0).cdf(torch.tensor(1.0)))  # the share on the right side of the middle
    assert found.standard_error == pytest.approx(math.sqrt(found.value * (1 - found.value) / 4_000))
    assert abs(found.value - best) < 3 * found.standard_error


def test_the_unit_of_a_latent_plays_no_part_in_the_linear_probe() -> None:
    codes, labels = two_gaussians(500, 0, 1.0)
    held, held_labels = two_gaussians(500, 1, 1.0)
    unit = torch.tensor([1e-3, 1e3])
    plain = linear_probe(codes, labels, held, held_labels)
    assert linear_probe(codes * unit, labels, held * unit, held_labels).value == pytest.approx(plain.value, abs=0.004)


def test_neighbours_see_what_no_line_separates() -> None:
    torch.manual_seed(0)
    codes = torch.randn(2_000, 2)
    labels = (codes.norm(dim=1) < 1.2).long()
    found = nearest_neighbours(codes[:1_500], labels[:1_500], codes[1_500:], labels[1_500:])
    assert found.value > 0.95
    assert linear_probe(codes[:1_500], labels[:1_500], codes[1_500:], labels[1_500:]).value < 0.65


def test_neighbours_are_five_and_do_not_see_collapsed_dimensions() -> None:
    codes = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert nearest_neighbours(codes, labels, torch.tensor([[0.35]]), torch.tensor([0])).value == 1
    torch.manual_seed(0)
    wide, wide_labels = two_gaussians(1_000, 0, 6.0)
    collapsed = torch.cat([wide, 1e-3 * torch.randn(1_000, 50)], 1)
    assert nearest_neighbours(collapsed[:500], wide_labels[:500], collapsed[500:], wide_labels[500:]).value > 0.99


def test_chance_is_what_codes_without_information_give() -> None:
    torch.manual_seed(0)
    codes, labels = torch.randn(2_000, 3), torch.arange(2_000) % 4
    for probe in (linear_probe, nearest_neighbours):
        found = probe(codes[:1_000], labels[:1_000], codes[1_000:], labels[1_000:])
        assert found.standard_error is not None
        assert abs(found.value - 0.25) < 3 * found.standard_error
