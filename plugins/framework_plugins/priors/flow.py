"""The prior that is a normalising flow."""

from __future__ import annotations

from typing import Literal

from torch.distributions import Distribution

from framework import OptionError, Prior, register_prior


@register_prior("flow")
class Flow(Prior):
    """p(z) = N(f(z); 0, I) · |det ∂f/∂z|, with f learned, invertible, and of a triangular Jacobian.

    `maf` is an affine, `nsf` a spline autoregressive flow: the density takes one pass, a sample D of them. `coupling`
    is affine and transforms half the dimensions given the other half: one pass each, and less flexible. Splines leave
    what is outside [−5, 5] as it is.

    The KL divergence to a flow has no closed form: `kl` estimates it by Monte Carlo.

    Args:
        latent_dim: D; 2 or more.
        kind: which of the three.
        transforms: how many in a row, at least 1; each second one takes the dimensions in the reverse order, or the
            other half of them.
        hidden: units of each hidden layer of the network in each transform; one or more layers.

    Raises:
        OptionError: a single latent dimension, no transform, no hidden unit; zuko is not installed.

    Example:
        >>> import torch
        >>> Flow(latent_dim=2)().log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])

    Reference: Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation", 2017,
        https://arxiv.org/abs/1705.07057; Durkan et al., "Neural Spline Flows", 2019, https://arxiv.org/abs/1906.04032;
        Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, https://arxiv.org/abs/1605.08803; as
        priors, Chen et al., "Variational Lossy Autoencoder", 2017, section 3.2, https://arxiv.org/abs/1611.02731.
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        kind: Literal["nsf", "maf", "coupling"] = "nsf",
        transforms: int = 3,
        hidden: list[int] = [64, 64],  # noqa: B006  (never changed)
    ) -> None:
        super().__init__()
        if latent_dim < 2:
            raise OptionError("latent_dim", found=latent_dim, expected="2 or more for prior flow")
        if transforms < 1:
            raise OptionError("transforms", found=transforms, expected="1 or more")
        if not hidden or any(units < 1 for units in hidden):
            raise OptionError("hidden", found=hidden, expected="1 or more for each layer, and a layer at least")
        try:
            from zuko.flows import MAF, NICE, NSF
        except ImportError as error:
            expected = "zuko, whose flows it is made of"
            raise OptionError(
                "name", found=f"flow, and {error}", expected=expected, write="pip install zuko"
            ) from error
        make = {"nsf": NSF, "maf": MAF, "coupling": NICE}[kind]
        self.flow = make(features=latent_dim, transforms=transforms, hidden_features=hidden)

    def forward(self) -> Distribution:
        p: Distribution = self.flow()
        return p
