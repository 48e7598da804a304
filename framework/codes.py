"""What the codes of examples look like beside the prior: which dimensions are used, and how far off they are.

Legend: N examples, n points, D latent, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.distributions import Delta
from framework.estimate import Estimate
from framework.factors import kl_of_factors
from framework.latent_health import active_units
from framework.mmd_of_samples import mmd_squared

# The same for every run, whatever it was trained by: a number means nothing without its kernel and its widths.
POINTS = 5_000  # at most, of each sample
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
KERNEL = "imq, widths 2·D times 0.1, 0.2, 0.5, 1, 2, 5, 10, unbiased"


def count_active_units(means: Tensor) -> int:
    """Return how many dimensions of the posteriors' means [N, D] have a variance over the examples above 0.01."""
    return int(active_units(Delta(means.double())))


def kl_by_factor(posteriors: Sequence[Distribution], p: Distribution) -> list[float] | None:
    """Return E_x KL(q(z_f|x)‖p(z_f)) of each factor, F numbers in nats, or None where there is no closed form.

    Args:
        posteriors: q(z|x) in one part or several.
        p: p(z), batch shape ().
    """
    parts = [kl_of_factors(q, p) for q in posteriors]  # [B, F] each
    known = [part.double() for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    means: list[float] = torch.cat(known).mean(0).tolist()
    return means


def mmd_to_prior(z: Tensor, w: Tensor) -> Estimate:
    """Return MMD² of latents and of as many draws of the prior, by the unbiased statistic and a fixed kernel.

    k = Σ_s C_s/(C_s + r²), C_s = 2·D·s, for seven scales s. Zero in expectation exactly when the two have one
    distribution; then below zero about half of the time. The standard error is the delete-a-group jackknife's, with ten
    groups of points: for distributions that are nearly the same it is too large rather than too small.

    Args:
        z: [n, D], n at least 20: draws of q(z|x) for n examples.
        w: [n, D], draws of the prior.

    Reference: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equation 3,
        https://jmlr.org/papers/v13/gretton12a.html; Tolstikhin et al., "Wasserstein Auto-Encoders", 2018, for kernel
        and scales, https://arxiv.org/abs/1711.01558.
    """
    widths = [2.0 * z.shape[1] * scale for scale in SCALES]

    def of(a: Tensor, b: Tensor) -> float:
        return float(mmd_squared(a.double(), b.double(), "imq", widths, "u"))

    return Estimate.by_jackknife(of, z, w)
