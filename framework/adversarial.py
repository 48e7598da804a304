"""AdversarialDivergence: (q, p, z) → nats, by a critic that is trained beside the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.divergence import Divergence
from framework.optimizer import Optimizer


class AdversarialDivergence(Divergence):
    """A divergence that a critic estimates: `forward` reads it off the critic, `critic_loss` makes the critic better.

    At each step every critic is trained first, on latents that are detached; then the model is, against the critics as
    they are now and frozen. `forward` therefore need not detach anything, and its gradient reaches q and p alone.

    Args:
        critic: the network that tells q from p.
        optimizer: the critic's own.
    """

    aggregate = True

    def __init__(self, *, critic: nn.Module, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
        super().__init__()
        self.critic, self.optimizer = critic, optimizer

    @abstractmethod
    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what the critic minimises, and what is to be known of it.

        Args:
            q: the posterior of the whole batch; not to be differentiated: take z.
            p: the prior; samples of it, not reparametrised, are of use.
            z: [B, D], detached samples of q.

        Returns:
            The loss, [], with a graph to the critic alone; and by name numbers to be logged, [] each, detached, such as
            the critic's accuracy in [0, 1].
        """
