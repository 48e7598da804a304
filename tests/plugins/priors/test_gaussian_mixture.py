"""The mixture prior against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from framework import OptionError
from framework_plugins.priors.gaussian_mixture import GaussianMixture


def mixture(components: int = 3, latent_dim: int = 2) -> GaussianMixture:
    torch.manual_seed(0)
    prior = GaussianMixture(latent_dim=latent_dim, components=components)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_()
    return prior.double()


def test_its_density_is_the_weighted_sum() -> None:
    prior = mixture()
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = torch.softmax(prior.logits, 0)
    parts = [weights[k] * Normal(prior.means[k], prior.log_scales[k].exp()).log_prob(z).sum(1).exp() for k in range(3)]
    torch.testing.assert_close(prior().log_prob(z), sum(parts).log(), rtol=1e-12, atol=1e-12)  # float64


def test_samples_have_its_moments() -> None:
    prior = mixture()
    count = 50_000
    torch.manual_seed(2)
    z = prior().sample((count,))
    weights, means, variances = torch.softmax(prior.logits, 0)[:, None], prior.means, (2 * prior.log_scales).exp()
    mean = (weights * means).sum(0)
    variance = (weights * (variances + means**2)).sum(0) - mean**2
    assert ((z.mean(0) - mean).abs() < 4 * (variance / count).sqrt()).all()
    squares = (z - mean).square()
    assert ((squares.mean(0) - variance).abs() < 4 * squares.std(0) / math.sqrt(count)).all()


def test_the_components_start_equally_likely_of_unit_scale_and_spread_out() -> None:
    torch.manual_seed(0)
    prior = GaussianMixture(latent_dim=50, components=40, spread=3.0)
    assert torch.equal(torch.softmax(prior.logits, 0), torch.full((40,), 1 / 40))
    assert not prior.log_scales.any()
    # 2,000 draws: the standard error of a standard deviation is σ/√(2n) = 0.047
    assert prior.means.std().item() == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "^components: expected 1 or more, found 0$"),
        ({"spread": -1.0}, r"^spread: expected 0 or more, found -1\.0$"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GaussianMixture(latent_dim=2, **options)
