"""What can be read off codes: the accuracy of simple classifiers that see nothing else.

Legend: N examples that are scored, n that the classifier is fitted to, D latent.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from framework.estimate import Estimate

FITTED = 10_000  # examples at most, of the training set
NEIGHBOURS = 5


def linear_probe(codes: Tensor, labels: Tensor, held_codes: Tensor, held_labels: Tensor) -> Estimate:
    """Return the share of examples whose label a linear classifier reads off their codes.

    Logistic regression over the classes, with scikit-learn's regularisation (C = 1), on codes that are standardised by
    the fitted ones' mean and standard deviation: the unit of a latent plays no part.

    Args:
        codes: [n, D], what is fitted to.
        labels: [n] int64, of two classes at least.
        held_codes: [N, D], what is scored.
        held_labels: [N] int64.

    Returns:
        The accuracy in [0, 1], with √(a(1 − a)/N).
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    return _accuracy(probe, codes, labels, held_codes, held_labels)


def nearest_neighbours(codes: Tensor, labels: Tensor, held_codes: Tensor, held_labels: Tensor) -> Estimate:
    """Return the share of examples whose label is the commonest among the 5 nearest fitted codes.

    Distances are in the latents' own unit, in which the prior is given: a dimension that has collapsed, whose codes are
    all about the same, plays no part.

    Args:
        codes: [n, D], what is fitted to.
        labels: [n] int64.
        held_codes: [N, D], what is scored.
        held_labels: [N] int64.

    Returns:
        The accuracy in [0, 1], with √(a(1 − a)/N).
    """
    from sklearn.neighbors import KNeighborsClassifier

    probe = KNeighborsClassifier(n_neighbors=min(NEIGHBOURS, len(codes)))
    return _accuracy(probe, codes, labels, held_codes, held_labels)


def _accuracy(probe: Any, codes: Tensor, labels: Tensor, held_codes: Tensor, held_labels: Tensor) -> Estimate:
    probe.fit(codes.double().cpu().numpy(), labels.cpu().numpy())
    accuracy = float(probe.score(held_codes.double().cpu().numpy(), held_labels.cpu().numpy()))
    return Estimate(accuracy, math.sqrt(accuracy * (1 - accuracy) / len(held_labels)))
