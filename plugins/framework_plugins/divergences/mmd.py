"""The squared maximum mean discrepancy of the aggregate posterior to the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.checkpoint import checkpoint

from framework import Divergence, OptionError, register_divergence
from framework.distributions import DiagonalGaussian, StandardNormal, matching_draws
from framework.mmd_of_samples import Kernel, Statistic, mmd_squared

# The set of the WAE authors' implementation, https://github.com/tolstikhin/wae, wae.py, `mmd_penalty`.
_IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Numbers in one block of the closed form's [rows, n, D] differences: 16 MB in float32.
_CLOSED_FORM_BLOCK = 1 << 22


@register_divergence("mmd")
class MMD(Divergence):
    """MMD² = E k(z, z') + E k(w, w') − 2 E k(z, w), for z, z' of the aggregate posterior q(z) and w, w' of the prior.

    With r² = ‖a − b‖² and one width s = c·2D for each scale c (2D is E r² for two draws of N(0, I)):

        rbf: k = Σ_c exp(−r²/s)        imq: k = Σ_c s/(s + r²)

    `sampled` compares z with as many draws of p. The `u` statistic leaves out pairs of a point with itself; it is
    unbiased, zero in expectation exactly when q(z) = p, and then negative about half of the time. The `v` statistic
    keeps them; it is biased upwards by (k(a, a) − E k)/n for each of the two sets, never negative, and zero only if the
    two sets coincide.

    `closed_form` takes the expectations over z and w exactly: no draw is made. It needs a Gaussian posterior with a
    diagonal covariance and the prior N(0, I). Here `v` is the MMD² of the batch's mixture of posteriors, zero exactly
    when that mixture is the prior; `u` leaves out pairs from one posterior, and is unbiased for the aggregate posterior
    of examples drawn independently. It costs n²·D for each width, and imq takes about fifty widths instead of seven.

    No unit; between 0 and 2 for each scale (the u statistic may be slightly below 0). A weight for it means nothing
    without kernel, widths, statistic and estimate: `estimator` names all four. It is not the distance of two means, and
    not the MMD itself, which is the square root.

    Args:
        latent_dim: D.
        kernel: rbf or imq (inverse multiquadric), whose tails still pull on points far away from the prior.
        scales: the c, positive, over which the kernel is summed; by default (1) for rbf and
            (0.1, 0.2, 0.5, 1, 2, 5, 10) for imq.
        statistic: u or v.
        estimate: sampled, or closed_form.

    Raises:
        OptionError: a scale is not a positive number, or there is none.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> q, p = DiagonalGaussian(torch.zeros(512, 2), torch.zeros(512, 2)), StandardNormal(2, torch.zeros(()))
        >>> value = MMD(latent_dim=2)(q, p, q.rsample())
        >>> bool(value.abs() < 0.01)
        True

    Oracle: double loops in numpy, with and without the diagonal; gradients by autograd in float64; the closed form
        against the mean over draws, and against quadrature in one dimension.

    Reference: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equations 3 (u) and 5 (v),
        https://jmlr.org/papers/v13/gretton12a.html; Tolstikhin et al., "Wasserstein Auto-Encoders", 2018, section 4
        (imq), https://arxiv.org/abs/1711.01558; Zhao, Song & Ermon, "InfoVAE", 2019, https://arxiv.org/abs/1706.02262.
    """

    aggregate = True
    strict = True

    def __init__(
        self,
        *,
        latent_dim: int,
        kernel: Kernel = "imq",
        scales: tuple[float, ...] | None = None,
        statistic: Statistic = "u",
        estimate: Literal["sampled", "closed_form"] = "sampled",
    ) -> None:
        super().__init__()
        if scales is None:
            scales = (1.0,) if kernel == "rbf" else _IMQ_SCALES
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise OptionError(
                "scales", found=list(scales), expected="one or more positive numbers", write="scales: [1.0]"
            )
        self.kernel, self.statistic, self.estimate = kernel, statistic, estimate
        self.widths = tuple(2.0 * latent_dim * scale for scale in scales)  # E r² is 2D under N(0, I)
        widths = ", ".join(f"{width:g}" for width in self.widths)
        self.estimator = f"{estimate.replace('_', ' ')} {statistic} statistic, {kernel} kernel of width {widths}"

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        """Return MMD², [], without unit.

        Raises:
            ValueError: the closed form is asked for distributions that have none, or the u statistic of one example.
        """
        if self.estimate == "closed_form":
            if not (isinstance(q, DiagonalGaussian) and isinstance(p, StandardNormal)):
                raise ValueError(
                    "mmd: estimate: closed_form expects a DiagonalGaussian posterior and the StandardNormal prior, "
                    f"found {type(q).__name__} and {type(p).__name__}; write estimate: sampled"
                )
            return gaussian_mmd_squared(q.mean, q.variance, self.kernel, self.widths, self.statistic)
        return mmd_squared(z, matching_draws(p, z), self.kernel, self.widths, self.statistic)


def gaussian_mmd_squared(
    mean: Tensor, variance: Tensor, kernel: Kernel, widths: Sequence[float], statistic: Statistic = "u"
) -> Tensor:
    """Return MMD² of the mixture 1/n Σ_i N(μ_i, diag v_i) to N(0, I), in closed form.

    For u ~ N(m, diag v),

        E exp(−‖u‖²/s) = Π_j (1 + 2v_j/s)^(−1/2) exp(−m_j²/(s + 2v_j)),

    where u = z − z' has m = μ_i − μ_j and v = v_i + v_j, u = z − w has m = μ_i and v = v_i + 1, and u = w − w' has
    m = 0 and v = 2. imq is a sum over rbf widths (`_imq_as_rbf`), within 1e-6 of the kernel. Memory n·D and a block;
    the gradient computes each block again.

    Args:
        mean: μ, [n, D].
        variance: v, [n, D], not negative.
        kernel: rbf or imq.
        widths: s of every scale, in the unit of z squared.
        statistic: u leaves out the pairs i = j, v keeps them (z and z' are then two draws from the same component).

    Returns:
        [], of the mean's type, but at least float32.

    Raises:
        ValueError: the u statistic of one example.

    Example:
        >>> gaussian_mmd_squared(torch.zeros(1, 2), torch.ones(1, 2), "rbf", [4.0], "v")
        tensor(0.)
    """
    count = len(mean)
    if statistic == "u" and count < 2:
        raise ValueError(
            f"mmd: the u statistic expects at least 2 examples, found {count}; "
            "write statistic: v, or a larger data.batch_size"
        )
    dtype = torch.promote_types(
        mean.dtype, torch.float32
    )  # half precision would lose the difference of the three means
    mean, variance = mean.to(dtype), variance.to(dtype)
    mixture = [(1.0, s) for s in widths] if kernel == "rbf" else _imq_as_rbf(widths)
    rows = max(1, _CLOSED_FORM_BLOCK // mean.numel())
    within = mean.new_zeros(())
    for first in range(0, count, rows):
        block = (mean[first : first + rows], variance[first : first + rows])
        # Recomputed in the backward pass: autograd would otherwise hold every [n, n, D] intermediate of every width.
        within = within + checkpoint(
            _sum_of_pairs, *block, mean, variance, mixture, use_reentrant=False, preserve_rng_state=False
        )
    if statistic == "u":
        within = within - _expected_kernel(torch.zeros_like(mean), 2 * variance, mixture).sum()
    within = within / (count * (count - 1) if statistic == "u" else count**2)
    across = _expected_kernel(mean, variance + 1, mixture).mean()
    prior = _expected_kernel(torch.zeros_like(mean[0]), torch.full_like(mean[0], 2.0), mixture)
    return within + prior - 2 * across


def _sum_of_pairs(
    rows: Tensor, row_variance: Tensor, mean: Tensor, variance: Tensor, mixture: list[tuple[float, float]]
) -> Tensor:
    difference = rows[:, None] - mean  # [rows, n, D]
    return _expected_kernel(difference, row_variance[:, None] + variance, mixture).sum()


def _expected_kernel(mean: Tensor, variance: Tensor, mixture: list[tuple[float, float]]) -> Tensor:
    """Return Σ weight·E exp(−‖u‖²/s) over the mixture's (weight, s), for u ~ N(mean, variance): [..., D] → [...]."""
    square = mean.square()  # [..., D]
    total = mean.new_zeros(mean.shape[:-1])
    for weight, s in mixture:
        exponent = 0.5 * torch.log1p(variance * (2 / s)) + square / (s + 2 * variance)  # [..., D]
        total = total + weight * exponent.sum(-1).neg().exp()
    return total


def _imq_as_rbf(widths: Sequence[float]) -> list[tuple[float, float]]:
    """Return (weight, s) with Σ_C C/(C + r²) = Σ weight·exp(−r²/s) + a constant, within 1e-6 for every r².

    C/(C + r²) = ∫ C exp(−tC) exp(−t r²) dt over t > 0, by the trapezoid rule in log t with step h. The integrand is
    analytic there for |Im log t| < π/2, so the rule errs by about exp(−π²/h): 3e-9. What lies above t = 20/C is
    exp(−20) of the whole, and what lies below t = 1e-7/C is 1e-7 of it. A constant in the kernel cancels in MMD².

    Reference: Trefethen & Weideman, "The Exponentially Convergent Trapezoidal Rule", SIAM Review 2014, section 5,
        https://doi.org/10.1137/130932132.
    """
    step = 0.5
    lowest, highest = math.log(1e-7 / max(widths)), math.log(20 / min(widths))
    nodes = [math.exp(lowest + step * k) for k in range(math.ceil((highest - lowest) / step) + 1)]
    return [(step * t * sum(c * math.exp(-t * c) for c in widths), 1 / t) for t in nodes]
