"""What latents say of examples: mutual information, and what the aggregate posterior differs from the prior by.

    q(z) = 1/N Σ_n q(z|x_n)
    E_x KL(q(z|x)‖p) = I(x;z) + KL(q(z)‖p) = I(x;z) + TC + Σ_j KL(q(z_j)‖p(z_j))

where I(x;z) = E log q(z|x)/q(z) and TC = E log q(z)/Π_j q(z_j), the total correlation, are expectations over all N
examples and z ~ q(z|x_n); the last equality holds where the prior is a product over the dimensions.

Legend: N examples, M of a batch, R rows at a time, D latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.distributions import HALF_LOG_TWO_PI, DiagonalGaussian, StandardNormal, closed_form_kl, kl_is_infinite
from framework.estimate import Estimate
from framework.waiting import Track, at_once

PAIRS = 2**22  # pairs of an example and a posterior at a time, float64: 32 MB
PAIRS_IN_CACHE = 2**18  # of one dimension, float32: 1 MB


@dataclass(frozen=True)
class Information:
    """What `information` found, in nats. Every standard error is over the examples, each with one draw of z.

    Args:
        kl: E_x KL(q(z|x)‖p(z)).
        mutual_information: I(x;z) of the N examples, from the mixture of all N posteriors; in [0, log N]. Unbiased for
            these examples. For the population that they are from it is too small, since each posterior is a part of the
            mixture that it is compared with: by about E q(z|x)/q(z) / 2N where that is small; near log N it says
            nothing but that the truth is no smaller. The two of KL(q(z)‖p) are too large by as much.
        lower: the in-batch bound, with the mixture of the M posteriors of a batch; in expectation below I(x;z), and
            never above log M. None where no batch is whole.
        upper: the leave-one-out bound, with the mixture of the M − 1 other posteriors; in expectation above I(x;z).
        aggregate_kl: KL(q(z)‖p(z)) as the mean of log q(z) − log p(z).
        aggregate_kl_by_difference: KL(q(z)‖p(z)) as `kl` − `mutual_information`, of less variance where the first is in
            closed form.
        total_correlation: TC; None for posteriors that are not diagonal Gaussians. Biased for the population, either
            way: too large where each example has a code of its own, too small where latents repeat each other.
        dimension_wise_kl: Σ_j KL(q(z_j)‖p(z_j)); None there, and for a prior that is not a product over the dimensions.
    """

    kl: Estimate
    mutual_information: Estimate
    lower: Estimate | None
    upper: Estimate | None
    aggregate_kl: Estimate
    aggregate_kl_by_difference: Estimate
    total_correlation: Estimate | None
    dimension_wise_kl: Estimate | None


def information(batches: Sequence[tuple[Distribution, Tensor]], p: Distribution, track: Track = at_once) -> Information:
    """Return what the latents of N examples say of them.

    Memory does not grow with N², for the pairs are made a few rows at a time.

    Args:
        batches: q(z|x) of M examples and a draw of each, batch shape [M] and [M, D]; examples in a random order. M is
            the same in all, except that the last may be smaller: it has no part in the bounds.
        p: p(z), batch shape ().
        track: shows how far it is.

    Returns:
        See `Information`.

    Reference: Hoffman & Johnson, "ELBO surgery", 2016; Chen et al., "Isolating Sources of Disentanglement in VAEs",
        2018, equation 2, https://arxiv.org/abs/1802.04942; Poole et al., "On Variational Bounds of Mutual Information",
        2019, section 2.5, https://arxiv.org/abs/1905.06922.
    """
    z = torch.cat([z for _, z in batches])  # [N, D]
    own = torch.cat([q.log_prob(z).double() for q, z in batches])  # [N]
    log_p = p.log_prob(z).double()  # [N]
    posteriors = [q for q, _ in batches]
    gaussian = joined(posteriors)
    log_q = aggregate_log_density(posteriors if gaussian is None else [gaussian], z, track, own=own)  # [N]
    infinite = kl_is_infinite(posteriors[0], p)  # as the samples will show
    exact = [None if infinite else closed_form_kl(q, p) for q in posteriors]
    kl = own - log_p if exact[0] is None else torch.cat([one.double() for one in exact if one is not None])  # [N]
    lower, upper = bounds(batches)
    correlation = dimension_wise = None
    if gaussian is not None:
        marginal = marginal_log_density(gaussian, z, track)  # [N]
        correlation = Estimate.of_mean(log_q - marginal)
        if isinstance(p, StandardNormal | DiagonalGaussian):
            dimension_wise = Estimate.of_mean(marginal - log_p)
    return Information(
        kl=Estimate.of_mean(kl),
        mutual_information=Estimate.of_mean(own - log_q),
        lower=lower,
        upper=upper,
        aggregate_kl=Estimate.of_mean(log_q - log_p),
        aggregate_kl_by_difference=Estimate.of_mean(kl - (own - log_q)),
        total_correlation=correlation,
        dimension_wise_kl=dimension_wise,
    )


def bounds(batches: Sequence[tuple[Distribution, Tensor]]) -> tuple[Estimate | None, Estimate | None]:
    """Return the in-batch lower and the leave-one-out upper bound of I(x;z); see `Information`.

    Their standard errors are over the batches: within one, the values of examples hang together.
    """
    size = len(batches[0][1])
    lower: list[Tensor] = []
    upper: list[Tensor] = []
    for q, z in batches:
        if len(z) < max(size, 2):
            continue
        pairs = torch.cat([_pairs(q, rows) for rows in z.split(_rows([q], z))])  # [M, M]: log q(z_i|x_j) in row i
        own = q.log_prob(z).double()  # [M]; see `aggregate_log_density`
        pairs.diagonal().copy_(own)
        lower.append((own - pairs.logsumexp(1)).mean() + math.log(size))
        others = pairs.masked_fill(torch.eye(size, dtype=torch.bool, device=z.device), -torch.inf)
        upper.append((own - others.logsumexp(1)).mean() + math.log(size - 1))
    if not lower:
        return None, None
    return Estimate.of_mean(torch.stack(lower)), Estimate.of_mean(torch.stack(upper))


def joined(posteriors: Sequence[Distribution]) -> DiagonalGaussian | None:
    """Return the posteriors of several batches as one, batch shape [N], where all are diagonal Gaussians over [D]."""
    gaussians = [q for q in posteriors if isinstance(q, DiagonalGaussian)]
    if len(gaussians) < len(posteriors) or any(len(q.event_shape) != 1 for q in gaussians):
        return None
    mean = torch.cat([q.mean for q in gaussians])
    return DiagonalGaussian(mean, torch.cat([q.log_scale.expand_as(q.mean) for q in gaussians]))


def aggregate_log_density(
    posteriors: Sequence[Distribution], z: Tensor, track: Track = at_once, *, own: Tensor | None = None
) -> Tensor:
    """Return log q(z) = log 1/N Σ_n q(z|x_n), of the mixture of all N posteriors, [R] nats, float64.

    Args:
        posteriors: q(z|x) in one part or several, N in all.
        z: [R, D].
        track: shows how far it is.
        own: log q(z_n|x_n), [N], where z_n is drawn from the n-th posterior: of very narrow ones it is the term that a
            product of matrices loses to rounding.
    """
    count = sum(q.batch_shape[0] for q in posteriors)
    size = _rows(posteriors, z)
    parts = []
    for first in track(range(0, len(z), size), "q(z)"):
        rows = z[first : first + size]
        total = z.new_full((len(rows),), -torch.inf, dtype=torch.float64)
        offset = first  # from a row to the column of its own posterior in this part
        for q in posteriors:
            pairs = _pairs(q, rows)
            if own is not None:
                diagonal, start = pairs.diagonal(offset), first + max(0, -offset)
                diagonal.copy_(own[start : start + len(diagonal)])
                offset -= pairs.shape[1]
            total = torch.logaddexp(total, pairs.logsumexp(1))
        parts.append(total - math.log(count))
    return torch.cat(parts)


def _rows(posteriors: Sequence[Distribution], z: Tensor) -> int:
    """Return R: of how many z at a time the pairs with each part of the posteriors are made."""
    widest = max(q.batch_shape[0] for q in posteriors)
    return max(1, PAIRS // (widest if _is_gaussian(posteriors) else widest * max(1, z.shape[1])))


def _is_gaussian(posteriors: Sequence[Distribution]) -> bool:
    return all(isinstance(q, DiagonalGaussian) and len(q.event_shape) == 1 for q in posteriors)


def _pairs(q: Distribution, z: Tensor) -> Tensor:
    """Return log q(z_i|x_j), [R, N] float64."""
    if not _is_gaussian([q]):
        return q.log_prob(z.unsqueeze(1)).double()
    assert isinstance(q, DiagonalGaussian)
    # −½ Σ_d (z_d − μ_d)²/σ_d², multiplied out, is one product of matrices. Its terms cancel, so it is in float64, about
    # the centre of the means.
    centre = q.mean.double().mean(0)  # [D]
    mean, log_scale = q.mean.double() - centre, q.log_scale.double().expand_as(q.mean)
    precision = (-2 * log_scale).exp()  # [N, D]
    constant = -(0.5 * mean.square() * precision + log_scale + HALF_LOG_TWO_PI).sum(1)  # [N]
    moved = z.double() - centre  # [R, D]
    left = torch.cat([moved.square(), moved], 1)  # [R, 2·D]
    right = torch.cat([-0.5 * precision, mean * precision], 1)  # [N, 2·D]
    return torch.addmm(constant, left, right.T)


def marginal_log_density(q: DiagonalGaussian, z: Tensor, track: Track = at_once) -> Tensor:
    """Return Σ_j log q(z_j) = Σ_j log 1/N Σ_n N(z_j; μ_nj, σ_nj²), [R] nats, float64.

    Args:
        q: the posteriors of all N examples.
        z: [R, D], drawn from them.
        track: shows how far it is.
    """
    count, dimension = q.mean.shape
    total = z.new_zeros(len(z), dtype=torch.float64)
    rate = (-q.log_scale).exp().expand_as(q.mean) * math.sqrt(0.5)  # 1/(√2 σ)
    rows = max(1, PAIRS_IN_CACHE // count)
    buffer = z.new_empty(rows, count)
    for j in track(range(dimension), "q(z_j)"):
        mean, scale, height = q.mean[:, j].contiguous(), rate[:, j].contiguous(), -q.log_scale.expand_as(q.mean)[:, j]
        # No term is above exp(0) with this shift, and the term of the posterior that z was drawn from is far above the
        # least number: the largest need not be looked for.
        peak = height.max()
        height = (height - peak).contiguous()
        for start in range(0, len(z), rows):
            column = z[start : start + rows, j, None]  # [R, 1]
            block = torch.sub(column, mean, out=buffer[: len(column)]).mul_(scale)
            block = torch.addcmul(height, block, block, value=-1, out=block).exp_()
            total[start : start + rows] += block.sum(1).double().log() + peak
    return total - dimension * (math.log(count) + HALF_LOG_TWO_PI)
