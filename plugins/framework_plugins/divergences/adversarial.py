"""The adversarial divergence of the aggregate posterior from the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.utils import parametrizations

from framework import AdversarialDivergence, Optimizer, OptionError, register_divergence
from framework.networks import Activation, mlp
from framework_plugins.divergences.critic import accuracy, cross_entropy

_BOUNDED = (
    constraints.interval,
    constraints.half_open_interval,
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
)


@register_divergence("adversarial")
class Adversarial(AdversarialDivergence):
    """−E log D(z) for z ~ q(z), where the critic D = sigmoid(f) tells draws of the prior (class 1) from latents (0).

    The critic minimises

        −E_p log D(w) − E_q log(1 − D(z)) + γ/2 · E_p‖∇_w logit(w)‖²,   w ~ p,

    which without the penalty is log 4 − 2·JSD(q(z), p) at its least, where logit = log p/q(z). The encoder then
    minimises −E_q log D(z), the form that does not saturate where the critic is sure, through the critic as it is.

    The value, in nats, is positive and says how sure the present critic is; zero is not attainable. It is not the
    Jensen–Shannon divergence and no bound of it. It is log 2 = 0.69 for a critic that cannot tell, and for the best
    possible critic log 2 + KL(q(z)‖p) − KL(q(z)‖½(q(z) + p)), which is log 2 or more, and log 2 exactly when q(z) = p:
    below log 2, the critic is behind. The distance itself is in the critic's loss: log 4 minus it, halved, is a lower
    bound of JSD, but for sampling and for what the critic has learned of the very batch.

    A learned prior gets a gradient from it with `known_prior` alone: draws of a prior are not differentiated.

    Args:
        latent_dim: D.
        hidden: units of each of the critic's hidden layers; none makes f linear in z.
        optimizer: of the critic.
        activation: the non-linearity after each hidden layer.
        known_prior: logit = f(z) + log p(z), so that f has only −log q(z) to learn (WAE-GAN). Of a prior on a part of
            the line, such as `uniform`, log p(z) is −∞ outside, and a call raises ValueError.
        spectral_norm: divides each layer's weights by their largest singular value, so that f is 1-Lipschitz in z
            (with relu, elu and tanh). The estimate of that value is refined by each call in training mode.
        gradient_penalty: γ, 0 or more, without unit: R1, on draws of the prior alone. Of the whole logit and not of f,
            because it is the logit that is flat where q(z) = p; f = −log p is not, and a penalty on its slope would
            move the optimum.

    Raises:
        OptionError: a hidden layer has no unit, the penalty is negative, or spectral_norm is asked for together with
            known_prior: −log q(z) has no bound on its slope, so that f could not become it even where q(z) = p.

    Example:
        >>> from framework.distributions import DiagonalGaussian, StandardNormal
        >>> from framework_plugins.optimizers.adam import adam
        >>> part = Adversarial(latent_dim=2, hidden=[16], optimizer=adam)
        >>> q, p = DiagonalGaussian(torch.zeros(64, 2), torch.zeros(64, 2)), StandardNormal(2, torch.zeros(()))
        >>> part(q, p, q.rsample()).shape
        torch.Size([])

    Oracle: six symbols in exact proportions, for which the best critic is a table: scipy's Jensen–Shannon divergence
        and entropies at it; the penalty and the values by hand.

    Reference: Makhzani et al., "Adversarial Autoencoders", 2016, section 2, https://arxiv.org/abs/1511.05644;
        Tolstikhin et al., "Wasserstein Auto-Encoders", 2018, algorithm 1 and appendix (known_prior),
        https://arxiv.org/abs/1711.01558; Miyato et al., "Spectral Normalization", 2018,
        https://arxiv.org/abs/1802.05957; Mescheder, Geiger & Nowozin, "Which Training Methods for GANs do actually
        Converge?", 2018, equation 9 (R1), https://arxiv.org/abs/1801.04406; Arjovsky & Bottou, "Towards Principled
        Methods for Training GANs", 2017, theorem 2.5 (what −log D measures), https://arxiv.org/abs/1701.04862.
    """

    strict = True
    estimator = "−log D of the critic as it is; log 2 where it cannot tell, not a Jensen–Shannon divergence"

    def __init__(
        self,
        *,
        latent_dim: int,
        hidden: list[int],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        activation: Activation = "relu",
        known_prior: bool = False,
        spectral_norm: bool = False,
        gradient_penalty: float = 0.0,
    ) -> None:
        if not gradient_penalty >= 0:
            raise OptionError("gradient_penalty", found=f"{gradient_penalty:g}", expected="0 or more")
        if spectral_norm and known_prior:
            raise OptionError(
                "spectral_norm",
                found="true beside known_prior: true, under which the critic has to be as steep as −log q(z)",
                expected="one of the two, or neither",
                write="gradient_penalty: 1.0",
            )
        critic = mlp(latent_dim, hidden, 1, activation=activation)
        if spectral_norm:
            for layer in critic:
                if isinstance(layer, nn.Linear):
                    parametrizations.spectral_norm(layer)
        super().__init__(critic=critic, optimizer=optimizer)
        self.known_prior, self.gradient_penalty = known_prior, gradient_penalty

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return F.softplus(-self.logit(p, z)).mean()

    def logit(self, p: Distribution, z: Tensor) -> Tensor:
        """Return log D/(1 − D), an estimate of log p(z)/q(z): [B, D] → [B] nats."""
        logit: Tensor = self.critic(z).squeeze(-1)
        if not self.known_prior:
            return logit
        _check_density(p)
        return logit + p.log_prob(z)

    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w = p.sample(z.shape[:1])  # [B, D]
        points = torch.cat([w, z])  # [2B, D]: class 1, then class 0
        logit = self.critic(points).squeeze(-1)  # [2B]
        if self.known_prior:
            with torch.no_grad():  # the critic's loss is not to move a learned prior
                density = p.log_prob(points)
            logit = logit + density
        of_prior, of_latents = logit.split(len(z))
        loss, metrics = cross_entropy(of_prior, of_latents), {"accuracy": accuracy(of_prior, of_latents)}
        if self.gradient_penalty:
            penalty = self._gradient_penalty(p, w)
            loss, metrics["gradient_penalty"] = loss + penalty, penalty.detach()
        return loss, metrics

    def _gradient_penalty(self, p: Distribution, w: Tensor) -> Tensor:
        """Return γ/2 · mean ‖∇_w logit(w)‖², [], with a graph to the critic alone."""
        w = w.detach().requires_grad_()
        # A row's logit depends on that row alone, so that the gradient of the sum holds each row's own.
        slope = torch.autograd.grad(self.critic(w).sum(), w, create_graph=True)[0]  # [B, D]
        if self.known_prior:
            slope = slope + torch.autograd.grad(p.log_prob(w).sum(), w)[0]  # without create_graph: a constant
        return 0.5 * self.gradient_penalty * slope.square().sum(1).mean()


def _check_density(p: Distribution) -> None:
    """Refuse a prior of which log p(z) is −∞ on a part of the line; one that does not say where is let through."""
    try:
        support: constraints.Constraint = p.support  # type: ignore[assignment]
    except NotImplementedError:  # torch's answer where a distribution has no support written down
        return
    base = support.base_constraint if isinstance(support, constraints.independent) else support
    if isinstance(base, _BOUNDED):
        raise ValueError(
            "known_prior: expected a prior with a density on the whole line, such as standard_normal, found "
            f"{type(p).__name__}, of which log p(z) is −∞ outside its support; write known_prior: false"
        )
