"""The standard normal prior."""

from __future__ import annotations

import torch
from torch.distributions import Normal

from framework_plugins.priors.standard_normal import StandardNormal


def test_its_density_is_torchs() -> None:
    p = StandardNormal(latent_dim=3)()
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(p.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1))
    assert (p.batch_shape, p.event_shape) == ((), (3,))


def test_samples_follow_the_modules_type() -> None:
    prior = StandardNormal(latent_dim=3)
    assert prior().sample((2,)).dtype == torch.float32
    assert prior.double()().sample((2,)).dtype == torch.float64


def test_it_has_nothing_to_save() -> None:
    assert not StandardNormal(latent_dim=3).state_dict()
