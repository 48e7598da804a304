"""The total correlation of the latents, by a critic that estimates a ratio of densities (FactorVAE)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework import AdversarialDivergence, Optimizer, register_divergence
from framework.networks import Activation, mlp
from framework_plugins.divergences.critic import accuracy, cross_entropy


@register_divergence("density_ratio_total_correlation")
class DensityRatioTotalCorrelation(AdversarialDivergence):
    """TC = KL(q(z)‖Π_j q(z_j)) ≈ E_q f(z), where f, a critic's logit, tells q(z) from the product of its marginals.

    The critic minimises

        −E log D(z) − E log(1 − D(z̃)),   D = sigmoid(f),

    over the first half of the batch, z (class 1: joint), and the second, z̃ (class 0: product), whose dimensions are
    each shuffled over its examples. At the optimum f = log q(z)/Π_j q(z_j), and E_q f is TC.

    In nats. TC is zero exactly when the dimensions are independent; the estimate is biased, is no bound in either
    direction, may be negative, and is zero for a critic that says 0 to everything, as a new one nearly does. Where the
    critic is behind the encoder, it is too low. Not to be confused with the total correlation that β-TCVAE estimates
    from q's density by minibatch-weighted sampling: no density is needed here, but a critic.

    E_q f is over all rows, and not over the first half alone as in the paper, whose second half is a batch that the
    model does not see otherwise: here both halves are reconstructed, each example gets its gradient, the variance is
    half, and half of the rows are such as the critic was not shown as joint.

    Args:
        latent_dim: D.
        hidden: units of each of the critic's hidden layers; the paper has six of 1000.
        optimizer: of the critic.
        activation: the non-linearity after each hidden layer; the paper has leaky ReLU of slope 0.2.

    Raises:
        OptionError: a hidden layer has no unit.

    Example:
        >>> from framework.distributions import DiagonalGaussian, StandardNormal
        >>> from framework_plugins.optimizers.adam import adam
        >>> part = DensityRatioTotalCorrelation(latent_dim=2, hidden=[16], optimizer=adam)
        >>> q, p = DiagonalGaussian(torch.zeros(64, 2), torch.zeros(64, 2)), StandardNormal(2, torch.zeros(()))
        >>> part(q, p, q.rsample()).shape
        torch.Size([])

    Oracle: correlated Gaussians, whose TC is −½ log(1 − ρ²), by a critic trained on them; halves and shuffles by hand.

    Reference: Kim & Mnih, "Disentangling by Factorising", 2018, equations 2 and 3 and algorithm 2,
        https://arxiv.org/abs/1802.05983.
    """

    decomposition: ClassVar[dict[str, float]] = {"TC(q(z))": 1.0}
    estimator = "mean logit of the critic as it is, joint against shuffled dimensions; no bound"

    def __init__(
        self,
        *,
        latent_dim: int,
        hidden: list[int],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        activation: Activation = "relu",
    ) -> None:
        super().__init__(critic=mlp(latent_dim, hidden, 1, activation=activation), optimizer=optimizer)

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        value: Tensor = self.critic(z).mean()
        return value

    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the critic's loss and accuracy; of an odd batch the second half has the row more.

        Raises:
            ValueError: the batch has one example, which cannot be halved.
        """
        half = len(z) // 2
        if half == 0:
            raise ValueError(
                "density_ratio_total_correlation: the critic compares two halves of a batch and expects 2 examples or "
                f"more, found {len(z)}; write a larger data.batch_size"
            )
        points = torch.cat([z[:half], shuffled_dimensions(z[half:])])  # [B, D]: class 1, then class 0
        joint, product = self.critic(points).squeeze(-1).tensor_split([half])
        return cross_entropy(joint, product), {"accuracy": accuracy(joint, product)}


def shuffled_dimensions(z: Tensor) -> Tensor:
    """Return z with each dimension permuted over the examples, independently of the others: [N, D] → [N, D].

    A row is then nearly a draw of Π_j q(z_j): two of its dimensions still come from one example with probability 1/N.

    Example:
        >>> shuffled_dimensions(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
        tensor([[1., 2.],
                [1., 2.]])
    """
    order = torch.rand(z.shape, device=z.device).argsort(0)  # [N, D]
    return z.gather(0, order)
