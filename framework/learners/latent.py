"""The latent learner: E_q[−log p(x|z)] + Σ_k w_k · D_k(q, p), by reparametrised gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from framework.data import Facts
from framework.decoder import Decoder
from framework.distributions import Delta, kl_divergence
from framework.divergence import Term
from framework.divergence import divergences as divergence_registry
from framework.encoder import Encoder
from framework.errors import IncompatibleParts, OptionError
from framework.learner import ExampleLearner, Loss, register_learner
from framework.objective import Objective
from framework.optimizer import Optimizer
from framework.precision import full_precision
from framework.prior import Prior
from framework.randomness import Keys
from framework.schedule import Counters


@dataclass(frozen=True)
class _Latents:
    """The posteriors and latents of the examples here, those of the whole batch, and the prior."""

    q: Distribution
    z: Tensor  # [B, D]
    whole_q: Distribution
    whole_z: Tensor
    p: Distribution


_METRICS = ("objective", "reconstruction", "elbo")


@register_learner("latent")
class Latent(ExampleLearner):
    """Autoencoders, variational and others: reconstruction plus weighted divergences of q(z|x) from the prior.

        L = 1/B Σ_b [−log p(x_b|z_b)] + Σ_k w_k · D_k(q, p),   z_b ~ q(z|x_b)

    one sample of z an example; sums over pixels and latent dimensions, means over the batch only. With `kl` alone at
    weight 1 it is the VAE, and L is the negative evidence lower bound.

    Its metrics: `objective` (L), `reconstruction` (−log p(x|z), nats), `elbo` (log p(x|z) − KL(q‖p), nats, whatever the
    objective's weights are), and one for each divergence, by label. There is no `elbo` where it would be no bound: for
    a deterministic posterior, and for grey pixels under a Bernoulli likelihood. In training, what is to be known of
    each critic: `<label>/critic_loss`, `<label>/critic_accuracy`.

    A critic's loss comes first, on detached latents; then one joint loss, through all critics as they are then, frozen.

    Args:
        facts: of the data; supplied by the builder.
        latent_dim: D.
        encoder: x → q(z|x).
        decoder: z → p(x|z).
        prior: p(z).
        divergences: by label, each with its weight.
        optimizer: of all parameters but those of critics, which have their own.

    Raises:
        IncompatibleParts: a likelihood that does not suit the data, a decoder of another shape, a divergence that needs
            a density where the posterior has none, a negative weight where there may be none, a label that is a
            metric's name, settings that the optimiser refuses.

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
    """

    def __init__(
        self,
        *,
        facts: Facts,
        latent_dim: int,
        encoder: Encoder,
        decoder: Decoder,
        prior: Prior,
        divergences: dict[str, Term],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.objective = _objective_of(divergences)
        self.optimizer = optimizer
        # The ELBO's KL is taken from the objective where it is a term, so as not to be computed twice.
        kl = [leaf.label for leaf in self.objective.leaves if divergence_registry.name_of(leaf.divergence) == "kl"]
        self._kl_label = kl[0] if kl else None
        self.notes = self._check(facts)

    def losses(self, batch: Tensor, counters: Counters, keys: Keys) -> Iterator[Loss]:
        latents = self._encode(batch, keys)
        of_critics: dict[str, Tensor] = {}
        for label, loss, metrics in self.objective.critic_losses(latents.whole_q, latents.p, latents.whole_z, keys):
            of_critics |= metrics
            yield Loss(loss, f"critic/{label}", {})
        total, metrics = self._objective(batch, latents, counters, keys)
        yield Loss(total, "main", {**metrics, **of_critics})  # in the order in which a person reads them

    def evaluate(self, batch: Tensor, keys: Keys) -> dict[str, Tensor]:
        return self._objective(batch, self._encode(batch, keys), None, keys)[1]

    def optimizers(self) -> dict[str, Optimizer]:
        return {name: make() for name, _, make in self._optimizers()}

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> Distribution:
        """Return q(z|x), batch shape [B], for examples [B, *input_shape]; with their labels where it is conditional."""
        q: Distribution = self.encoder(x)
        return q

    def likelihood(self, z: Tensor, labels: Tensor | None = None) -> Distribution:
        """Return p(x|z), batch shape [B], for latents [B, D]; of examples with these labels where it is conditional."""
        likelihood: Distribution = self.decoder(z)
        return likelihood

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x'|z] at the posterior's mean, [B, *input_shape]."""
        return self.generate(self.posterior(x, labels).mean, labels)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x|z] for latents [B, D], [B, *input_shape]."""
        return self.likelihood(z, labels).mean

    def _encode(self, x: Tensor, keys: Keys) -> _Latents:
        with keys("encode"):
            q: Distribution = self.encoder(x)
        with keys("z"), full_precision(x):
            whole_q, whole_z, z = keys.share.sample(q)
        with full_precision(x):
            return _Latents(q, z, whole_q, whole_z, self.prior())

    def _objective(
        self, x: Tensor, latents: _Latents, counters: Counters | None, keys: Keys
    ) -> tuple[Tensor, dict[str, Tensor]]:
        q, p, z = latents.q, latents.p, latents.z
        with keys("decode"):
            likelihood: Distribution = self.decoder(z)
        with full_precision(x):
            reconstruction = -likelihood.log_prob(x).mean()
            whole = (latents.whole_q, latents.whole_z)
            divergence, parts = self.objective(q, p, z, counters=counters, keys=keys, whole=whole)
            total = reconstruction + divergence
            metrics = {"objective": total.detach(), "reconstruction": reconstruction.detach(), **parts}
            if self._has_elbo:
                with torch.no_grad():
                    kl = parts[self._kl_label] if self._kl_label else kl_divergence(q, p, z).mean()
                    metrics["elbo"] = -(reconstruction + kl)
        return total, metrics

    @torch.no_grad()
    def _check(self, facts: Facts) -> tuple[str, ...]:
        """Try the parts on two blank examples; return what a reader of the numbers should know."""
        q: Distribution = self.encoder(torch.zeros(2, *facts.input_shape))
        p: Distribution = self.prior()
        likelihood: Distribution = self.decoder(torch.zeros(2, self.latent_dim))
        misfits = [
            *_shape_misfits(q, p, likelihood, self.latent_dim, facts),
            *self._divergence_misfits(q, p),
            *self._optimizer_misfits(),
        ]
        if misfits:
            raise IncompatibleParts(misfits)
        grey = _support(likelihood) is constraints.boolean and facts.values != "binary"
        deterministic = isinstance(q, Delta)
        self._has_elbo = not grey and not deterministic
        notes = [f"{leaf.label}: {leaf.divergence.estimator}" for leaf in self.objective.leaves]
        notes = [note for note in notes if not note.endswith(": ")]
        if grey:
            notes.append(
                "no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy and no "
                "likelihood (binarize the data, or take continuous_bernoulli)"
            )
        if deterministic:
            notes.append("no elbo: the posterior is deterministic and has no density")
        if any(leaf.weight != 0 for leaf in self.objective.leaves if leaf.label in self.objective.critics):
            notes.append("the objective moves with its critics: best.ckpt is the best by a yardstick that changes")
        return tuple(notes)

    def _optimizers(self) -> Iterator[tuple[str, str, Callable[[], Optimizer]]]:
        """Yield the name of each optimiser, its option in the recipe, and what makes it."""
        critics = self.objective.critics
        theirs = {parameter for divergence in critics.values() for parameter in divergence.critic.parameters()}
        own = [parameter for parameter in self.parameters() if parameter not in theirs]
        yield "main", "optimizer", partial(self.optimizer, own)
        for label, divergence in critics.items():
            outer, *inside = label.split("/")
            option = f"divergences.{outer}" if inside else f"divergences.{label}.optimizer"
            yield f"critic/{label}", option, partial(divergence.optimizer, divergence.critic.parameters())

    def _divergence_misfits(self, q: Distribution, p: Distribution) -> Iterator[OptionError]:
        for leaf in self.objective.leaves:
            option = f"divergences.{leaf.label.split('/')[0]}"
            if leaf.label in _METRICS:
                yield OptionError(option, found="the name of a metric of the learner", expected="another label")
            elif leaf.divergence.needs_density and isinstance(q, Delta):
                yield OptionError(
                    option,
                    found=f"{leaf.label!r} with a deterministic posterior, which has no density",
                    expected="a posterior with a density, or a divergence of samples such as mmd",
                    write="encoder.posterior=gaussian",
                )
            elif q.event_shape == p.event_shape == (self.latent_dim,):
                # Runs each once: what is wrong shows here, and estimators can say what they do.
                keys = Keys(0, "check", 0)
                try:
                    Objective({leaf.label: Term(leaf.divergence)})(q, p, q.rsample(), counters=None, keys=keys)
                except ValueError as error:
                    yield OptionError(option, found=str(error), expected="parts that it can compare")

    def _optimizer_misfits(self) -> Iterator[OptionError]:
        # torch looks at learning rates and the like when it is given parameters
        for _, option, make in self._optimizers():
            try:
                make()
            except OptionError as error:
                yield OptionError(f"{option}.{error.option}", found=error.found, expected=error.expected)
            except ValueError as error:
                yield OptionError(option, found=str(error), expected="settings that the optimiser accepts")


def _shape_misfits(
    q: Distribution, p: Distribution, likelihood: Distribution, latent_dim: int, facts: Facts
) -> Iterator[OptionError]:
    if q.batch_shape != (2,) or q.event_shape != (latent_dim,):
        found = f"batch shape {list(q.batch_shape)}, event shape {list(q.event_shape)} for 2 examples"
        yield OptionError("encoder", found=found, expected=f"a posterior of [2] events [{latent_dim}]")
    if p.batch_shape != () or p.event_shape != (latent_dim,):
        found = f"batch shape {list(p.batch_shape)}, event shape {list(p.event_shape)}"
        expected = f"batch shape [], event shape [{latent_dim}], the latent dimension"
        yield OptionError("prior", found=found, expected=expected)
    if likelihood.event_shape != torch.Size(facts.input_shape):
        found = f"examples of shape {list(likelihood.event_shape)}"
        yield OptionError("decoder", found=found, expected=f"the data's {list(facts.input_shape)}")
    elif facts.values == "real" and _support(likelihood) in (constraints.boolean, constraints.unit_interval):
        base = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
        yield OptionError(
            "decoder.likelihood",
            found=f"{type(base).__name__} on data outside [0, 1]",
            expected="a likelihood on the real line, or data scaled to [0, 1]",
            write="likelihood: gaussian",
        )


def _objective_of(divergences: dict[str, Term]) -> Objective:
    try:
        return Objective(divergences)
    except IncompatibleParts as error:
        raise IncompatibleParts(
            [
                OptionError(f"divergences.{one.option}", found=one.found, expected=one.expected, write=one.write)
                for one in error.misfits
            ]
        ) from error


def _support(likelihood: Distribution) -> constraints.Constraint:
    """Return the range of one pixel."""
    support: constraints.Constraint = likelihood.support  # type: ignore[assignment]
    return support.base_constraint if isinstance(support, constraints.independent) else support
