"""Score-function surrogates as pure functions of tensors: for policies, controllers and discrete latents alike.

Legend: K samples, B batch, T time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framework.errors import OptionError


def score_function(
    log_prob: Tensor, cost: Tensor, baseline: Tensor | float = 0.0, weight: Tensor | float = 1.0
) -> Tensor:
    """Return, for each sample, a surrogate whose gradient is the score-function estimate of ∇ E_{z ~ q}[w·f(z)].

        L = w·(f(z) − b)·log q(z),    ∇L = w·(f(z) − b)·∇log q(z),    E ∇L = ∇ E[w·f(z)]

    z is a sample of q, f its cost, b the baseline, w the weight; f, b and w are constants of the gradient. It is
    unbiased when b and w do not depend on z itself; b may depend on other samples (`leave_one_out`), or on what z was
    drawn given. It is not the gradient of an E[f] whose f has parameters too: add f to the surrogate for theirs. The
    value of L means nothing: zero is neither attainable nor sought.

    The caller leaves out masked elements, sums over time and averages over samples and batch. For a latent variable
    f is the integrand of the negative ELBO; for a policy f = −G_t and w = γ^t; for a search f is minus the score.

    Args:
        log_prob: log q(z), of any shape ([K, B], [T, B]), nats; the only argument that a gradient goes to.
        cost: f(z), of that shape or one that broadcasts to it, in any unit; lower is better.
        baseline: b, in f's unit; a number, or a tensor that broadcasts to log_prob's shape.
        weight: w; a number, or a tensor that broadcasts to log_prob's shape.

    Returns:
        L, of log_prob's shape, in f's unit times nats.

    Raises:
        OptionError: cost, baseline or weight does not broadcast to log_prob's shape; [B, 1] and [B] would make [B, B].

    Example:
        >>> logit = torch.zeros(2, requires_grad=True)
        >>> log_prob = torch.nn.functional.logsigmoid(logit)  # of drawing a one
        >>> score_function(log_prob, torch.tensor([3.0, 1.0]), baseline=2.0).sum().backward()
        >>> logit.grad  # (f − b)·(1 − p)
        tensor([ 0.5000, -0.5000])

    Reference: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
        1992, theorem 1, https://doi.org/10.1007/BF00992696; Schulman et al., "Gradient Estimation Using Stochastic
        Computation Graphs", 2015, https://arxiv.org/abs/1506.05254.
    """
    for name, factor in (("cost", cost), ("baseline", baseline), ("weight", weight)):
        if isinstance(factor, Tensor) and not _broadcasts(factor.shape, log_prob.shape):
            raise OptionError(
                name,
                found=list(factor.shape),
                expected=f"a shape that broadcasts to log_prob's {list(log_prob.shape)}",
                write=f"one {name} for each log_prob",
            )
    return (weight * (cost - baseline)).detach() * log_prob


def leave_one_out(cost: Tensor) -> Tensor:
    """Return, as the baseline of each sample, the mean cost of the other samples.

        b_k = 1/(K − 1) Σ_{j ≠ k} f_j

    b_k does not depend on sample k, so that `score_function` with it stays unbiased when the K samples are independent
    draws of one distribution. It is not the mean of all samples, which shrinks the gradient by 1 − 1/K.

    Args:
        cost: f, [K, ...], usually [K, B]: two or more samples in the first dimension.

    Returns:
        b, of the cost's shape and unit.

    Raises:
        OptionError: there are no others: K < 2.

    Example:
        >>> leave_one_out(torch.tensor([[1.0], [2.0], [6.0]])).T
        tensor([[4.0000, 3.5000, 1.5000]])

    Reference: Kool, van Hoof & Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019,
        https://openreview.net/forum?id=r1lgTGL5DE; Mnih & Rezende, "Variational Inference for Monte Carlo
        Objectives", 2016, https://arxiv.org/abs/1602.06725.
    """
    if cost.dim() == 0 or len(cost) < 2:
        raise OptionError(
            "cost",
            found=list(cost.shape),
            expected="[K, B] with two samples or more to leave one out of",
            write="a larger K, or another baseline",
        )
    return (cost.sum(0) - cost) / (len(cost) - 1)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(
        size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(to), strict=False)
    )
