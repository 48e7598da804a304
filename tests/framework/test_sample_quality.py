"""The Fréchet distance against closed forms and scipy, and the classifier whose features it is of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from framework.sample_quality import accuracy, features, frechet_distance, frechet_estimate, train_classifier


def test_it_is_scipys() -> None:
    torch.manual_seed(0)
    a = torch.randn(200, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    b = torch.randn(150, 5, dtype=torch.float64) + 1
    of_a, of_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    expected = np.square(a.numpy().mean(0) - b.numpy().mean(0)).sum()
    expected += np.trace(of_a + of_b - 2 * np.real(sqrtm(of_a @ of_b)))
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_it_is_that_of_the_gaussians() -> None:
    torch.manual_seed(0)
    a = 2 * torch.randn(200_000, 3, dtype=torch.float64)
    b = torch.randn(200_000, 3, dtype=torch.float64) + 1
    assert frechet_distance(a, b) == pytest.approx(3 * (1 + (2 - 1) ** 2), rel=0.02)  # ‖m‖² + Σ (σ_a − σ_b)²
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_features_that_never_fire_are_no_harm() -> None:
    torch.manual_seed(0)
    a = torch.cat([torch.randn(50, 2), torch.zeros(50, 62)], 1)
    b = torch.cat([torch.randn(50, 2) + 3, torch.zeros(50, 62)], 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a[:, :2], b[:, :2]), rel=1e-9)


def test_the_standard_error_is_the_spread() -> None:
    torch.manual_seed(0)
    found = [frechet_estimate(1 + torch.randn(300, 3), torch.randn(300, 3)) for _ in range(80)]
    spread = torch.tensor([one.value for one in found]).std()
    claimed = torch.tensor([one.standard_error for one in found]).mean()
    assert float(claimed) == pytest.approx(float(spread), rel=0.3)  # 80 numbers know their spread to 8 %


def test_the_classifier_learns_is_repeatable_and_tells_bad_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.sample_quality.STEPS", 200)  # enough for four prototypes
    torch.manual_seed(0)
    prototypes = torch.rand(4, 1, 5, 5)
    labels = torch.arange(1_000) % 4
    examples = prototypes[labels] + 0.2 * torch.randn(1_000, 1, 5, 5)
    classifier = train_classifier(examples[:600], labels[:600])
    held = features(classifier, examples[600:])
    assert held.shape == (400, 64)
    assert accuracy(classifier, examples[600:], labels[600:]) > 0.95
    again = train_classifier(examples[:600], labels[:600])
    assert torch.equal(features(again, examples[600:]), held)
    good = frechet_distance(features(classifier, examples[:400]), held)
    noise = frechet_distance(features(classifier, torch.randn(400, 1, 5, 5)), held)
    one_class = frechet_distance(features(classifier, examples[:400][labels[:400] == 0]), held)
    assert good < 0.05 * min(noise, one_class)
