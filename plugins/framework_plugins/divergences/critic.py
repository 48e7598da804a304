"""What a critic minimises to tell two sets of points apart, and how well it does: logistic regression."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(ones: Tensor, zeros: Tensor) -> Tensor:
    """Return −mean log D(a) − mean log(1 − D(b)) for D = sigmoid(f): what a critic f minimises, [] nats.

    Its minimum over all f, for a ~ P and b ~ Q, is log 4 − 2·JSD(P, Q), at f = log P/Q. It is a sum of two means and
    twice their mean, so that no set counts for more than the other; `log D` is never taken of a rounded D.

    Args:
        ones: f(a), [N] logits of the points of class 1.
        zeros: f(b), [M] logits of the points of class 0.

    Example:
        >>> cross_entropy(torch.zeros(3), torch.zeros(2))  # log 4: the critic cannot tell
        tensor(1.3863)

    Reference: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1 and theorem 1,
        https://arxiv.org/abs/1406.2661.
    """
    # −log sigmoid(f) = softplus(−f) and −log(1 − sigmoid(f)) = softplus(f)
    return F.softplus(-ones).mean() + F.softplus(zeros).mean()


def accuracy(ones: Tensor, zeros: Tensor) -> Tensor:
    """Return the share of all points that the critic classifies rightly, [] in [0, 1], without a graph.

    A logit of exactly 0 is class 0: a critic that says 0 to everything is right for class 0 alone.

    Args:
        ones: [N] logits of the points of class 1.
        zeros: [M] logits of the points of class 0.

    Example:
        >>> accuracy(torch.tensor([2.0, -1.0]), torch.tensor([-3.0, -4.0]))
        tensor(0.7500)
    """
    return torch.cat([ones > 0, zeros <= 0]).to(ones.dtype).mean()
