"""The last layer of an encoder."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from framework import OptionError
from framework.distributions import Delta
from framework_plugins.encoders.posterior import Posterior


def posterior(scale: str, raw: float, dtype: torch.dtype = torch.float32) -> tuple[Posterior, Tensor]:
    """A posterior of one latent whose raw scale is `raw`, and its log σ."""
    layer = Posterior(features=1, latent_dim=1, posterior="gaussian", scale=scale).to(dtype)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.copy_(torch.tensor([0.5, raw], dtype=dtype))
    q = layer(torch.zeros(1, 1, dtype=dtype))
    assert q.mean.item() == 0.5
    return layer, q.log_scale


@pytest.mark.parametrize("raw", [-3.0, 0.0, 1.7, 30.0])
def test_sigma_is_the_exponential_or_the_softplus(raw: float) -> None:
    # float64: within a few roundings of the formula
    assert posterior("exp", raw, torch.float64)[1].exp().item() == pytest.approx(math.exp(raw), rel=1e-12)
    expected = math.log1p(math.exp(raw))
    # torch's softplus is the identity above 20, where e⁻²⁰ = 2e-9 is what is left out
    assert posterior("softplus", raw, torch.float64)[1].exp().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("raw", [-200.0, -104.0, -90.0, -80.0, 200.0])
def test_softplus_has_a_finite_value_and_gradient_where_it_underflows(raw: float) -> None:
    layer, log_scale = posterior("softplus", raw)
    log_scale.sum().backward()
    assert log_scale.isfinite().all()
    assert layer.linear.bias.grad.isfinite().all()
    # log softplus(a) is a itself to within e^a, down to the smallest normal number, 1.2e-38 = e^-87.3
    assert log_scale.item() == pytest.approx(math.log(200.0) if raw > 0 else max(raw, math.log(2.0**-126)), rel=1e-6)


def test_a_scale_is_refused_where_there_is_no_sigma() -> None:
    message = (
        "scale: expected exp, the default, or posterior: gaussian beside it, "
        "found softplus with posterior: deterministic, which has no σ"
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        Posterior(features=3, latent_dim=2, posterior="deterministic", scale="softplus")


def test_deterministic_is_a_point_of_the_layers_outputs() -> None:
    layer = Posterior(features=3, latent_dim=2, posterior="deterministic", scale="exp")
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    q = layer(features)
    assert isinstance(q, Delta)
    assert torch.equal(q.rsample(), layer.linear(features))
