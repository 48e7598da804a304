"""The total correlation of the latents, from the posteriors' densities in a batch (β-TCVAE)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from framework import Divergence, OptionError, register_divergence
from framework.distributions import BernoulliLogits, DiagonalGaussian

Estimate = Literal["stratified", "weighted"]


@register_divergence("total_correlation")
class TotalCorrelation(Divergence):
    """TC = KL(q(z)‖Π_j q(z_j)) = E_q(z)[log q(z) − Σ_j log q(z_j)], with q(z) = 1/N Σ_n q(z|x_n) over all N examples.

    Each of the D + 1 densities is estimated from the batch of B, in which example i was the one to give z_i:

        q(z_i) ≈ Σ_k w_ik · q(z_i|x_k),      q(z_ij) ≈ Σ_k w_ik · q(z_ij|x_k)

    `stratified` (MSS): own w_ii = 1/N, one other (N − B + 1)/(N·(B − 1)), the remaining B − 2 others 1/(B − 1) each:
    rows sum to 1, and each *density* is unbiased over the draws of the batch. `weighted` (MWS): w_ik = 1/(N·B) for all;
    its densities are about N times too small, so that its TC is too great by (D − 1)·log N nats, the same at each step.
    That number is in `estimator`; less it, the value is that of the batch's own mixture, w_ik = 1/B. The gradient is
    not affected.

    In nats. TC is zero exactly when the latents' dimensions are independent. Both estimates are biased, for the
    logarithm of an estimate is, and the more so the more information z holds: from a large N, `stratified` is too low
    where I(x;z) is not small beside log B, and may be negative; `weighted`, less its constant, is too high, by about
    I(x;z) − log B where that is large. Beside `kl: {weight: 1}` a weight of β − 1 makes the β-TCVAE. Not to be confused
    with `density_ratio_total_correlation`, which asks a critic and needs no density.

    Time and memory are B²·D numbers: 17 MB at B = 512, D = 16 in float32, times three with the gradient's.

    Args:
        latent_dim: D.
        dataset_size: N, the number of training examples.
        estimate: stratified or weighted.

    Raises:
        OptionError: there is no example.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> mean = torch.randn(512, 1).expand(512, 2)  # two dimensions that say the same
        >>> q, p = DiagonalGaussian(mean, torch.full((512, 2), -0.5)), DiagonalGaussian(torch.zeros(2), torch.zeros(2))
        >>> value = TotalCorrelation(latent_dim=2, dataset_size=60_000)(q, p, q.rsample())
        >>> bool((value + 0.5 * math.log(1 - 1 / (1 + math.exp(-1)) ** 2)).abs() < 0.05)  # correlated by 1/(1 + σ²)
        True

    Oracle: enumeration of all batches of a small data set, and double loops; the linear-Gaussian model, whose total
        correlation has a closed form.

    Reference: Chen et al., "Isolating Sources of Disentanglement in VAEs", 2018, equation 4, sections 4.1 (weighted)
        and C.2 (stratified), https://arxiv.org/abs/1802.04942.
    """

    aggregate = True
    needs_density = True
    decomposition: ClassVar[dict[str, float]] = {"TC(q(z))": 1.0}

    def __init__(self, *, latent_dim: int, dataset_size: int, estimate: Estimate = "stratified") -> None:
        super().__init__()
        if dataset_size < 1:
            raise OptionError("dataset_size", found=dataset_size, expected="1 or more, the number of training examples")
        self.dataset_size, self.estimate = dataset_size, estimate
        self.estimator = f"minibatch-{estimate} sampling, {dataset_size:,} examples"
        if estimate == "weighted":
            excess = (latent_dim - 1) * math.log(dataset_size)
            self.estimator += f": (D − 1)·log N = {excess:.2f} nats more than from the batch's mixture"

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        """Return TC, [] nats.

        Raises:
            ValueError: a posterior whose dimensions are not independent given x, or a batch of one example.
        """
        count = len(z)
        if count < 2:
            raise ValueError(
                "total_correlation: the aggregate posterior is estimated from other examples, and a batch of 2 or more "
                f"is expected, found {count}; write a larger data.batch_size"
            )
        log_weights = self._log_weights(count, z)  # [B, B] or a number
        pairs = log_prob_by_dimension(q, z.unsqueeze(1))  # [B, B, D]: log q(z_ij|x_k) in row i, column k
        # The weights are of whole examples: added after the sum over dimensions for the joint density, not before it.
        joint = (pairs.sum(-1) + log_weights).logsumexp(1)  # [B]
        marginals = (pairs + log_weights.unsqueeze(-1)).logsumexp(1)  # [B, D]
        return (joint - marginals.sum(-1)).mean()

    def _log_weights(self, count: int, like: Tensor) -> Tensor:
        """Return log w, [B, B], or [1, 1] where it is the same for all."""
        if self.estimate == "weighted":
            return like.new_full((1, 1), -math.log(self.dataset_size * count))
        # A batch of another set may be larger than the training set: it stands for a set of its own size.
        return stratified_weights(count, max(count, self.dataset_size), like).log()


def stratified_weights(count: int, dataset_size: int, like: Tensor) -> Tensor:
    """Return the weights of minibatch-stratified sampling, [B, B], of rows that sum to 1.

    Row i weighs the densities q(z_i|x_k): 1/N where k = i; for the next example, cyclically, (N − B + 1)/(N·(B − 1));
    1/(B − 1) for the remaining ones. The mean over batches of i and B − 1 others, drawn from the N − 1 without
    replacement, is 1/N for each of the N.

    Args:
        count: B, from 2 to N.
        dataset_size: N.
        like: a tensor whose type and device the weights take.

    Raises:
        ValueError: more examples in the batch than there are.

    Example:
        >>> stratified_weights(3, 6, torch.zeros(()))
        tensor([[0.1667, 0.3333, 0.5000],
                [0.5000, 0.1667, 0.3333],
                [0.3333, 0.5000, 0.1667]])
    """
    if count > dataset_size:
        raise ValueError(f"stratified_weights: expected 2 to {dataset_size:,} examples, found {count:,}")
    others = count - 1
    weights = like.new_full((count, count), 1 / others)
    rows = torch.arange(count, device=like.device)
    weights[rows, (rows + 1) % count] = (dataset_size - others) / (dataset_size * others)
    weights[rows, rows] = 1 / dataset_size
    return weights


def log_prob_by_dimension(q: Distribution, z: Tensor) -> Tensor:
    """Return log q(z_j|x) of each dimension, for a q whose dimensions are independent given x.

    Args:
        q: batch shape [B], event shape [D].
        z: [..., D], of a shape that broadcasts to [..., B, D].

    Returns:
        [..., B, D] nats; its sum over D is `q.log_prob(z)`.

    Raises:
        ValueError: a distribution that is not known to factorise.
    """
    match q:
        case DiagonalGaussian(event_shape=shape) if len(shape) == 1:
            return DiagonalGaussian(q.mean, q.log_scale, 0).log_prob(z)
        case BernoulliLogits(event_shape=shape) if len(shape) == 1:
            return BernoulliLogits(q.logits, 0).log_prob(z)
        case Independent(base_dist=base, reinterpreted_batch_ndims=1) if not base.event_shape:
            density: Tensor = base.log_prob(z)
            return density
    found = repr(type(q).__name__) + (f" of {type(q.base_dist).__name__}" if isinstance(q, Independent) else "")
    raise ValueError(
        "total_correlation: expected a posterior whose dimensions are independent given x, with a density for each: "
        f"DiagonalGaussian, BernoulliLogits or Independent(…, 1) of univariate ones; found {found}"
    )
