"""How near a model's samples come to the data, in the features of a small classifier of these data.

Legend: N examples, B of a batch, F features, Y classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.estimate import Estimate
from framework.randomness import key, rekey

STEPS, BATCH = 1_500, 128  # of the classifier's training
HIDDEN, FEATURES = 256, 64
EXAMPLES = 20_000  # at most, that the classifier is trained on


class Classifier(nn.Module):
    """A multilayer perceptron 256-64 from examples to classes, whose 64 units are the features.

    Args:
        examples: [N, *input_shape], that it will be trained on; their mean and spread are taken away first.
        classes: Y.
    """

    def __init__(self, examples: Tensor, classes: int) -> None:
        super().__init__()
        self.mean, self.scale = examples.mean(), examples.std().clamp_min(1e-6)
        inputs = math.prod(examples.shape[1:])
        self.trunk = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES), nn.ReLU()
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, [B, F]."""
        features: Tensor = self.trunk((x - self.mean) / self.scale)
        return features


def train_classifier(examples: Tensor, labels: Tensor) -> Classifier:
    """Return a classifier of examples, trained for 1,500 steps of Adam; the same at each call for the same examples.

    It knows nothing of the model that is judged, so that models of one data set are judged by one classifier.

    Args:
        examples: [N, *input_shape], floating point.
        labels: [N] int64, from 0.
    """
    rekey(0, "sample quality", 0)
    examples = examples.float()
    classifier = Classifier(examples, int(labels.max()) + 1).to(examples.device)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    order = torch.Generator().manual_seed(key(0, "sample quality", 1))
    for _ in range(STEPS):
        rows = torch.randint(len(examples), (BATCH,), generator=order).to(examples.device)
        loss = F.cross_entropy(classifier.head(classifier(examples[rows])), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier.eval()


@torch.no_grad()
def features(classifier: Classifier, examples: Tensor) -> Tensor:
    """Return the features of examples, [N, F] float64."""
    return torch.cat([classifier(x.float()).double() for x in examples.split(1_000)])


@torch.no_grad()
def accuracy(classifier: Classifier, examples: Tensor, labels: Tensor) -> float:
    """Return the share of examples that the classifier knows."""
    found = classifier.head(features(classifier, examples).float()).argmax(1)
    return float((found == labels).double().mean())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Fréchet distance of two Gaussians with the samples' means and covariances.

        d² = ‖m_a − m_b‖² + tr(C_a + C_b − 2 (C_a C_b)^½)

    It is the squared 2-Wasserstein distance of those Gaussians; zero exactly when means and covariances agree, and
    biased upwards for finite samples, by an amount that falls with their size: compare numbers of one size only. With
    Inception features of colour images it is called FID; these are other features, and the numbers have nothing to do
    with FIDs.

    Args:
        a: features, [N, F], N at least 2.
        b: features, [M, F], M at least 2.

    Returns:
        In the features' unit squared.

    Example:
        >>> frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
        9.0

    Reference: Dowson & Landau, "The Fréchet distance between multivariate normal distributions", 1982,
        https://doi.org/10.1016/0047-259X(82)90077-X; Heusel et al., "GANs trained by a two time-scale update rule",
        2017, for its use, https://arxiv.org/abs/1706.08500.
    """
    a, b = a.double(), b.double()
    of_a, of_b = _covariance(a), _covariance(b)
    # tr (C_a C_b)^½ = tr (C_a^½ C_b C_a^½)^½, whose argument is symmetric
    values, vectors = torch.linalg.eigh(of_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ of_b @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + of_a.trace() + of_b.trace() - 2 * cross
    return max(0.0, float(distance))


def frechet_estimate(a: Tensor, b: Tensor) -> Estimate:
    """Return `frechet_distance` with the delete-a-group jackknife's standard error, ten groups of each sample."""
    return Estimate.by_jackknife(frechet_distance, a, b)


def _covariance(sample: Tensor) -> Tensor:
    centred = sample - sample.mean(0)
    return centred.T @ centred / (len(sample) - 1)
