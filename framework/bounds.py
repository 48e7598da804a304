"""Lower bounds of log p(x) from several samples of z an example, by importance weights.

    log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x),    z_k ~ q(z|x)

Legend: K samples, B batch, D latent.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

Bound = Literal["elbo", "iwae", "dreg"]


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return L_K = log 1/K Σ_k w_k, a lower bound of log p(x) in expectation, tighter the more samples there are.

    K = 1 is the evidence lower bound; K → ∞ is log p(x). Its gradient weighs the samples by w_k / Σ w. The mean is of
    the weights and not of their logarithms, and the weights are of densities: with an analytic KL in place of
    log p(z) − log q(z|x) it would be no bound.

    Args:
        log_weights: log w, [K, B] nats.

    Returns:
        [B], nats.

    Example:
        >>> import torch
        >>> importance_weighted_bound(torch.tensor([[0.0], [math.log(3.0)]])).exp()  # the mean of 1 and 3
        tensor([2.])

    Reference: Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016, equation 8,
        https://arxiv.org/abs/1509.00519.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def doubly_reparametrised(log_weights: Tensor, z: Tensor) -> Tensor:
    """Return L_K with a gradient to the encoder whose signal does not vanish among its noise as K grows.

    With v_k = w_k / Σ w held constant,

        ∇_θ L_K = E Σ_k v_k ∇_θ log w_k,        ∇_φ L_K = E Σ_k v_k² (∂log w_k/∂z_k) ∂z_k/∂φ

    for what the model has (θ: decoder and prior) and what the encoder has (φ). Both are unbiased. The second v_k is put
    on the gradient that passes through z, once: z may be used here and nowhere else.

    Args:
        log_weights: log w, [K, B] nats, with log q(z|x) of a detached q: φ reaches it through z alone.
        z: [B, K, D], the samples, with a graph to φ.

    Returns:
        [B], nats: the value of `importance_weighted_bound`, with the gradient above.

    Reference: Tucker, Lawson, Gu & Maddison, "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives",
        2019, equation 8, https://arxiv.org/abs/1810.04152.
    """
    weights = log_weights.detach().softmax(0)  # v, [K, B]
    if z.requires_grad:
        z.register_hook(lambda gradient: gradient * weights.T.unsqueeze(-1).to(gradient.dtype))
    weighted = (weights * log_weights).sum(0)  # [B]
    return importance_weighted_bound(log_weights.detach()) + weighted - weighted.detach()
