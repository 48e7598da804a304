"""The linear-Gaussian latent-variable model (probabilistic PCA): what estimators are to find, in closed form.

    p(z) = N(0, I)      p(x|z) = N(W z + b, s² I)      q(z|x) = N(A x + a, diag v)

The data are the model's own, x ~ N(b, W Wᵀ + s² I), so that expectations over x are closed forms too. All in float64;
densities and information in nats.

    model = linear_gaussian(seed=0)
    posterior = linear_posterior(model, seed=0)
    x = model.sample(1000, seed=0)
    posterior.distribution(x)           # the posteriors of these examples, a DiagonalGaussian
    posterior.total_correlation()       # of the aggregate posterior over all x, []

A `Latent` learner is put together from `LinearGaussianEncoder(posterior)`, `LinearGaussianDecoder(model)` and
`LinearGaussianPrior(latents)`.

Legend: N examples, P pixels, D latent.

Reference: Tipping & Bishop, "Probabilistic Principal Component Analysis", 1999, equations 3 to 9,
    https://doi.org/10.1111/1467-9868.00196.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from framework import Decoder, Encoder, Prior
from framework.distributions import DiagonalGaussian, StandardNormal


@dataclass(frozen=True)
class Gaussian:
    """N(mean, covariance): [D], [D, D]."""

    mean: Tensor
    covariance: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log N(x), [N, D] → [N] nats."""
        difference = x - self.mean
        scaled: Tensor = torch.linalg.solve(self.covariance, difference.T)  # [D, N]
        quadratic = (difference * scaled.T).sum(-1)
        return -0.5 * (quadratic + torch.logdet(self.covariance) + len(self.mean) * math.log(2 * math.pi))

    def sample(self, count: int, seed: int) -> Tensor:
        """Return [count, D] draws."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float64)
        factor: Tensor = torch.linalg.cholesky(self.covariance)
        return self.mean + noise @ factor.T

    def kl_to_standard(self) -> Tensor:
        """Return KL(N(m, Σ)‖N(0, I)) = ½ (‖m‖² + tr Σ − log det Σ − D), [] nats."""
        square = self.mean.square().sum() + self.covariance.trace()
        return 0.5 * (square - torch.logdet(self.covariance) - len(self.mean))

    def total_correlation(self) -> Tensor:
        """Return KL(N‖Π_j N_j) = ½ (Σ_j log Σ_jj − log det Σ), [] nats."""
        return 0.5 * (self.covariance.diagonal().log().sum() - torch.logdet(self.covariance))

    def marginal_kl_to_standard(self) -> Tensor:
        """Return KL(N_j‖N(0, 1)) of each dimension, [D] nats."""
        variance = self.covariance.diagonal()
        return 0.5 * (self.mean.square() + variance - variance.log() - 1)

    def mmd_squared_to(self, other: Gaussian, width: float) -> Tensor:
        """Return MMD² for the kernel exp(−r²/width), [] without unit."""

        def expected_kernel(mean: Tensor, covariance: Tensor) -> Tensor:
            # E exp(−‖u‖²/s) = det(I + 2Σ/s)^(−½) exp(−mᵀ (s I + 2Σ)⁻¹ m) for u ~ N(m, Σ)
            spread = torch.eye(len(mean), dtype=torch.float64) * width + 2 * covariance
            quadratic: Tensor = mean @ torch.linalg.solve(spread, mean)
            return (-0.5 * torch.logdet(spread / width) - quadratic).exp()

        none = torch.zeros_like(self.mean)
        within = expected_kernel(none, 2 * self.covariance) + expected_kernel(none, 2 * other.covariance)
        return within - 2 * expected_kernel(self.mean - other.mean, self.covariance + other.covariance)


def standard_gaussian(dimension: int) -> Gaussian:
    """Return N(0, I)."""
    return Gaussian(torch.zeros(dimension, dtype=torch.float64), torch.eye(dimension, dtype=torch.float64))


@dataclass(frozen=True)
class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(W z + b, s² I).

    Args:
        weight: W, [P, D].
        bias: b, [P].
        scale: s, the standard deviation of each pixel.
    """

    weight: Tensor
    bias: Tensor
    scale: float

    @property
    def pixels(self) -> int:
        return self.weight.shape[0]

    @property
    def latents(self) -> int:
        return self.weight.shape[1]

    @property
    def data(self) -> Gaussian:
        """p(x) = N(b, W Wᵀ + s² I)."""
        noise = self.scale**2 * torch.eye(self.pixels, dtype=torch.float64)
        return Gaussian(self.bias, self.weight @ self.weight.T + noise)

    def sample(self, count: int, seed: int) -> Tensor:
        """Return examples, [count, P]."""
        return self.data.sample(count, seed)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), [N, P] → [N] nats."""
        return self.data.log_prob(x)

    @property
    def posterior_covariance(self) -> Tensor:
        """S = (I + WᵀW/s²)⁻¹, [D, D], the same for every x; diagonal where W's columns are orthogonal."""
        precision = torch.eye(self.latents, dtype=torch.float64) + self.weight.T @ self.weight / self.scale**2
        covariance: Tensor = torch.linalg.inv(precision)
        return covariance

    @property
    def posterior_weight(self) -> Tensor:
        """S Wᵀ/s², [D, P]: the posterior's mean is this times x − b."""
        return self.posterior_covariance @ self.weight.T / self.scale**2

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """Return p(z|x) = N(S Wᵀ(x − b)/s², S), batch shape [N], for x [N, P]."""
        return MultivariateNormal((x - self.bias) @ self.posterior_weight.T, self.posterior_covariance)

    def best_diagonal_posterior(self) -> LinearPosterior:
        """Return the q(z|x) with diagonal covariance and the greatest ELBO: mean of p(z|x), v_j = 1/(S⁻¹)_jj.

        It is p(z|x) itself where W's columns are orthogonal; the ELBO is log p(x) then.
        """
        precision = torch.linalg.inv(self.posterior_covariance)
        weight = self.posterior_weight
        return LinearPosterior(self, weight, -weight @ self.bias, 1 / precision.diagonal())


@dataclass(frozen=True)
class LinearPosterior:
    """q(z|x) = N(A x + a, diag v), and what is true of it in expectation over x ~ p(x) of the model.

    Args:
        model: whose data are encoded.
        weight: A, [D, P].
        offset: a, [D].
        variance: v, [D].
    """

    model: LinearGaussian
    weight: Tensor
    offset: Tensor
    variance: Tensor

    def distribution(self, x: Tensor) -> DiagonalGaussian:
        """Return q(z|x), batch shape [N], for x [N, P]."""
        return DiagonalGaussian(x @ self.weight.T + self.offset, 0.5 * self.variance.log().expand(len(x), -1))

    @property
    def aggregate(self) -> Gaussian:
        """q(z) = ∫ q(z|x) p(x) dx = N(A b + a, A C Aᵀ + diag v), where C is the covariance of x."""
        covariance = self.weight @ self.model.data.covariance @ self.weight.T
        return Gaussian(self.weight @ self.model.bias + self.offset, covariance + self.variance.diag())

    def kl(self) -> Tensor:
        """Return E_x KL(q(z|x)‖p(z)), [] nats: `mutual_information` + `aggregate_kl`."""
        second_moments = self.aggregate.mean.square() + self.aggregate.covariance.diagonal()  # E z_j²
        return 0.5 * (second_moments - self.variance.log() - 1).sum()

    def mutual_information(self) -> Tensor:
        """Return I(x;z) = ½ log det(A C Aᵀ + diag v) − ½ Σ_j log v_j, [] nats."""
        return 0.5 * (torch.logdet(self.aggregate.covariance) - self.variance.log().sum())

    def aggregate_kl(self) -> Tensor:
        """Return KL(q(z)‖p(z)), [] nats: `total_correlation` + the sum of `marginal_kl`."""
        return self.aggregate.kl_to_standard()

    def total_correlation(self) -> Tensor:
        """Return KL(q(z)‖Π_j q(z_j)), [] nats."""
        return self.aggregate.total_correlation()

    def marginal_kl(self) -> Tensor:
        """Return KL(q(z_j)‖p(z_j)) of each dimension, [D] nats."""
        return self.aggregate.marginal_kl_to_standard()

    def mmd_squared(self, width: float) -> Tensor:
        """Return MMD² of q(z) and p(z) for the kernel exp(−r²/width), [] without unit."""
        return self.aggregate.mmd_squared_to(standard_gaussian(len(self.offset)), width)

    def reconstruction_of(self, x: Tensor) -> Tensor:
        """Return E_q[−log p(x|z)] of each example, [N, P] → [N] nats."""
        model, mean = self.model, self.distribution(x).mean
        # E ‖x − W z − b‖² = ‖x − W E z − b‖² + tr(W diag v Wᵀ)
        square = (x - mean @ model.weight.T - model.bias).square().sum(-1)
        square = square + (model.weight.square() @ self.variance).sum()
        return 0.5 * (square / model.scale**2 + model.pixels * math.log(2 * math.pi * model.scale**2))

    def kl_of(self, x: Tensor) -> Tensor:
        """Return KL(q(z|x)‖p(z)) of each example, [N, P] → [N] nats."""
        return 0.5 * (self.distribution(x).mean.square() + self.variance - self.variance.log() - 1).sum(-1)

    def elbo_of(self, x: Tensor) -> Tensor:
        """Return the ELBO of each example, log p(x) − KL(q(z|x)‖p(z|x)), [N, P] → [N] nats."""
        return -self.reconstruction_of(x) - self.kl_of(x)

    def elbo(self) -> Tensor:
        """Return E_x ELBO(x), [] nats."""
        model = self.model
        # x − W z − b has mean −W(A b + a) and covariance (I − W A) C (I − W A)ᵀ + W diag v Wᵀ
        left = torch.eye(model.pixels, dtype=torch.float64) - model.weight @ self.weight
        square = (model.weight @ self.aggregate.mean).square().sum()
        square = square + (left @ model.data.covariance @ left.T).trace()
        square = square + (model.weight.square() @ self.variance).sum()
        reconstruction = 0.5 * (square / model.scale**2 + model.pixels * math.log(2 * math.pi * model.scale**2))
        return -reconstruction - self.kl()


def linear_gaussian(
    seed: int, *, pixels: int = 6, latents: int = 3, scale: float = 0.7, axis_aligned: bool = False
) -> LinearGaussian:
    """Return a random model.

    Args:
        seed: of W and b.
        pixels: P, at least D.
        latents: D.
        scale: s.
        axis_aligned: whether W's columns are orthogonal (of different lengths), so that p(z|x) has a diagonal
            covariance.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(pixels, latents, generator=generator, dtype=torch.float64)
    bias = torch.randn(pixels, generator=generator, dtype=torch.float64)
    if axis_aligned:
        weight = torch.linalg.qr(weight)[0] * torch.linspace(0.5, 2.0, latents, dtype=torch.float64)
    return LinearGaussian(weight, bias, scale)


def linear_posterior(model: LinearGaussian, seed: int, *, strength: float = 0.4) -> LinearPosterior:
    """Return a random q(z|x), which is not the model's posterior: its aggregate is correlated and off the prior.

    Args:
        model: whose data are encoded.
        seed: of A, a and v.
        strength: the standard deviation of A's entries; more is more information.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (model.latents, model.pixels)
    weight = strength * torch.randn(shape, generator=generator, dtype=torch.float64)
    offset = 0.5 * torch.randn(model.latents, generator=generator, dtype=torch.float64)
    variance = 0.2 + torch.rand(model.latents, generator=generator, dtype=torch.float64)
    return LinearPosterior(model, weight, offset - weight @ model.bias, variance)


class LinearGaussianEncoder(Encoder):
    """q(z|x) of a `LinearPosterior`; examples of any shape are flattened. A, a and log √v are parameters, float64."""

    def __init__(self, posterior: LinearPosterior) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(posterior.weight.clone()), nn.Parameter(posterior.offset.clone())
        self.log_scale = nn.Parameter(0.5 * posterior.variance.log())

    def forward(self, x: Tensor) -> DiagonalGaussian:
        mean = x.flatten(1).to(self.weight.dtype) @ self.weight.T + self.offset  # [B, D]
        return DiagonalGaussian(mean, self.log_scale.expand_as(mean))


class LinearGaussianDecoder(Decoder):
    """p(x|z) of a `LinearGaussian`. W, b and log s are parameters, float64.

    Args:
        model: whose likelihood this is.
        shape: of an example; by default (P,).
    """

    def __init__(self, model: LinearGaussian, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(model.weight.clone()), nn.Parameter(model.bias.clone())
        self.log_scale = nn.Parameter(torch.tensor(math.log(model.scale), dtype=torch.float64))
        self.shape = shape or (model.pixels,)

    def forward(self, z: Tensor) -> DiagonalGaussian:
        mean = (z.to(self.weight.dtype) @ self.weight.T + self.bias).unflatten(-1, self.shape)
        return DiagonalGaussian(mean, self.log_scale.expand_as(mean), len(self.shape))


class LinearGaussianPrior(Prior):
    """N(0, I) in float64."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.like: Tensor
        self.register_buffer("like", torch.zeros((), dtype=torch.float64), persistent=False)

    def forward(self) -> StandardNormal:
        return StandardNormal(self.latents, self.like)
