"""The latent learner: E_q[−log p(x|z)] + Σ_k w_k · D_k(q, p), by reparametrised or score-function gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from framework.baseline import Baseline
from framework.bounds import Bound
from framework.conditioning import Conditioning, contexts
from framework.data import Facts, Labelled
from framework.decoder import Decoder
from framework.discrete import code_of, most_information
from framework.distributions import kl_divergence
from framework.divergence import Term
from framework.divergence_checks import objective_of
from framework.encoder import Encoder
from framework.errors import IncompatibleParts
from framework.latent_alarms import latent_alarms
from framework.latent_checks import latent_misfits, microbatch_misfits
from framework.latent_draws import Draws, Estimator, Latents, surrogate, weighted_bound
from framework.latent_health import latent_health
from framework.latent_notes import latent_notes, why_no_elbo
from framework.latent_optimizers import latent_optimizers, optimizer_misfits
from framework.learner import ExampleLearner, Loss, register_learner
from framework.optimizer import Optimizer
from framework.precision import full_precision
from framework.prior import Prior
from framework.randomness import Keys
from framework.schedule import Counters, Schedule
from framework.supports import support_of_a_value


@register_learner("latent")
class Latent(ExampleLearner):
    """Autoencoders, variational and others: reconstruction plus weighted divergences of q(z|x) from the prior.

        L = 1/B Σ_b [−log p(x_b|z_b)] + Σ_k w_k · D_k(q, p),   z_b ~ q(z|x_b)

    one sample of z an example; sums over pixels and latent dimensions, means over the batch only. With `kl` alone at
    weight 1 it is the VAE, and L is the negative evidence lower bound. The other bounds take K samples:

        L = −1/B Σ_b log 1/K Σ_k p(x_b|z_bk) p(z_bk) / q(z_bk|x_b)

    Discrete latents (bits, one-hot variables) have no reparametrised draw. Their gradient is `pathwise` through a
    relaxed draw, biased; `straight_through` a true draw, biased; or the `score_function`'s, unbiased, with a baseline b
    of the log-likelihood to lower its variance:

        ∇_φ E_q[−log p(x|z)] = E_q[(−log p(x|z) + b) ∇_φ log q(z|x)]

    Models are judged by true draws always.

    A conditional model is of p(x|y): the encoder and the decoder are told the label y (see `framework.conditioning`),
    the prior is not, and all of the above is given y.

    Its metrics: `objective` (L), `reconstruction` (−log p(x|z), nats), `elbo` (log p(x|z) − KL(q‖p), nats, whatever the
    objective's weights are), and one for each divergence, by label. There is no `elbo` where it would be no bound: for
    a deterministic posterior, and for grey pixels under a Bernoulli likelihood. In training, what is to be known of
    each critic: `<label>/critic_loss`, `<label>/critic_accuracy`; and of a fitted baseline, `baseline_loss`. In
    evaluations, `active_units` and, under the prior N(0, I), `aggregate_mismatch`: see `framework.latent_health`.

    A critic's loss comes first, on detached latents; then one joint loss, through all critics as they are then, frozen.

    Args:
        facts: of the data; supplied by the builder.
        latent_dim: D.
        encoder: x → q(z|x).
        decoder: z → p(x|z).
        prior: p(z).
        divergences: by label, each with its weight.
        optimizer: of all parameters but those of critics, which have their own.
        bound: `elbo`; `iwae`, the importance-weighted bound of K samples; `dreg`, the same bound with the doubly
            reparametrised gradient. The two need `kl` alone at weight 1, and a reparametrised posterior.
        samples: K, of an importance-weighted bound or the score function; elsewhere 1.
        estimator: of the gradient to a posterior that has no reparametrised draw; a Gaussian has `pathwise` exactly.
        temperature: τ > 0 of a relaxed draw, without unit; needed by discrete latents under `pathwise`.
        baseline: b, of the score function; None (null) is 0.
        conditional: whether the model is of examples given their labels; the data must have some.

    Raises:
        IncompatibleParts: a likelihood that does not suit the data, a decoder of another shape, a divergence that needs
            a density where the posterior has none, a negative weight where there may be none, a label that is a
            metric's name, a bound or an estimator that these parts do not have, settings that the optimiser refuses.
        OptionError: a conditional model of data without labels.

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
    """

    contexts = staticmethod(contexts)

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
        bound: Bound = "elbo",
        samples: int = 1,
        estimator: Estimator = "pathwise",
        temperature: float | Schedule | None = None,
        baseline: Baseline | None = None,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.objective, kl_label = objective_of(divergences)
        self.optimizer = optimizer
        self.draws = Draws(bound, samples, estimator, temperature)
        self.baseline = baseline
        self.takes_labels = conditional
        self.condition = Conditioning(facts) if conditional else None
        # The ELBO's KL is taken from the objective where it is a term, so as not to be computed twice.
        self._kl_label = kl_label
        self.formula = self._formula()
        self.notes = self._check(facts)

    def losses(self, batch: Tensor | Labelled, counters: Counters, keys: Keys) -> Iterator[Loss]:
        misfits = microbatch_misfits(self.baseline, keys.share)
        if misfits:
            raise IncompatibleParts(misfits)
        x, labels = batch if isinstance(batch, Labelled) else (batch, None)
        latents = self._encode(x, labels, counters, keys)
        of_critics: dict[str, Tensor] = {}
        for label, loss, metrics in self.objective.critic_losses(latents.whole_q, latents.p, latents.whole_z, keys):
            of_critics |= metrics
            yield Loss(loss, f"critic/{label}", {})
        cost = self._cost(x, labels, latents.z, keys)
        total, metrics = self._objective(latents, cost, counters, keys)
        if self.draws.estimator == "score_function":
            gradient, of_baseline, samples = surrogate(latents, cost, x, self.baseline)
            # What it adds is a gradient alone: its value means nothing.
            total = total + gradient - gradient.detach()
            metrics |= of_baseline
        yield Loss(total, "main", {**metrics, **of_critics})  # in the order in which a person reads them
        if self.baseline is not None:
            self.baseline.update(samples)

    def evaluate(self, batch: Tensor | Labelled, keys: Keys) -> dict[str, Tensor]:
        x, labels = batch if isinstance(batch, Labelled) else (batch, None)
        latents = self._encode(x, labels, None, keys)
        metrics = self._objective(latents, self._cost(x, labels, latents.z, keys), None, keys)[1]
        return metrics | latent_health(latents.q, latents.p)

    def optimizers(self) -> dict[str, Optimizer]:
        return {name: make() for name, _, make in latent_optimizers(self, self.objective, self.optimizer)}

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> Distribution:
        """Return q(z|x), batch shape [B], for examples [B, *input_shape]; of a conditional model q(z|x, y).

        Args:
            x: [B, *input_shape].
            labels: y, [B] int64, where the model is conditional, and only there.

        Raises:
            ValueError: labels are missing, or of no use.
        """
        condition = self._condition(labels)
        q: Distribution = self.encoder(x if condition is None else condition[0].examples(x, condition[1]))
        return q

    def likelihood(self, z: Tensor, labels: Tensor | None = None) -> Distribution:
        """Return p(x|z), batch shape [B], for latents [B, D]; of a conditional model p(x|z, y).

        Args:
            z: [B, D].
            labels: y, [B] int64, where the model is conditional, and only there.

        Raises:
            ValueError: labels are missing, or of no use.
        """
        condition = self._condition(labels)
        likelihood: Distribution = self.decoder(z if condition is None else condition[0].latents(z, condition[1]))
        return likelihood

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x'|z] at the posterior's mean; of discrete latents, at its mode.

        Args:
            x: [B, *input_shape].
            labels: y, [B] int64, where the model is conditional, and only there.

        Returns:
            [B, *input_shape], in the data's unit.

        Raises:
            ValueError: labels are missing, or of no use.
        """
        return self.generate(code_of(self.posterior(x, labels)), labels)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x|z].

        Args:
            z: [B, D].
            labels: y, [B] int64, where the model is conditional, and only there.

        Returns:
            [B, *input_shape], in the data's unit.

        Raises:
            ValueError: labels are missing, or of no use.
        """
        return self.likelihood(z, labels).mean

    def _formula(self) -> str:
        if self.draws.bound == "elbo":
            return self.objective.formula("reconstruction")
        samples = self.draws.samples
        return f"− log 1/{samples} Σ_k p(x|z_k) p(z_k) / q(z_k|x), {samples} samples an example"

    def _condition(self, labels: Tensor | None) -> tuple[Conditioning, Tensor] | None:
        if self.condition is None:
            if labels is not None:
                raise ValueError("this model is not conditional: it takes no labels; conditional: true makes it so")
            return None
        if labels is None:
            classes = self.condition.classes
            raise ValueError(f"this model is conditional: it needs labels, [B] whole numbers from 0 to {classes - 1}")
        return self.condition, labels

    def _encode(self, x: Tensor, labels: Tensor | None, counters: Counters | None, keys: Keys) -> Latents:
        with keys("encode"):
            q = self.posterior(x, labels)
        with keys("z"), full_precision(x):
            whole_q, whole_z, z = keys.share.sample(q, partial(self.draws, counters=counters))
        with full_precision(x):
            return Latents(q, z, whole_q, whole_z, self.prior())

    def _cost(self, x: Tensor, labels: Tensor | None, z: Tensor, keys: Keys) -> Tensor:
        """Return −log p(x|z), [B] nats; [K, B] for z of several samples."""
        count = self.draws.samples
        if self.draws.several:
            keys = replace(keys, share=keys.share.several(count))
            x, z = x.repeat_interleave(count, dim=0), z.flatten(0, 1)  # the samples of an example in a row
            labels = None if labels is None else labels.repeat_interleave(count)
        with keys("decode"):
            likelihood = self.likelihood(z, labels)
        with full_precision(x):
            cost = -likelihood.log_prob(x)
        return cost.unflatten(0, (-1, count)).T if self.draws.several else cost

    def _objective(
        self, latents: Latents, cost: Tensor, counters: Counters | None, keys: Keys
    ) -> tuple[Tensor, dict[str, Tensor]]:
        q, p, z = latents.q, latents.p, latents.z
        whole = (latents.whole_q, latents.whole_z)
        is_bound = self.draws.bound != "elbo"
        if self.draws.several:  # a divergence without a closed form is estimated from the first alone
            z = z[:, 0]
            whole = (latents.whole_q, latents.whole_z[:, 0])
        with full_precision(cost):
            reconstruction = cost.mean()
            trained = torch.is_grad_enabled() and not is_bound  # beside another bound the terms are metrics alone
            with torch.set_grad_enabled(trained):
                divergence, parts = self.objective(q, p, z, counters=counters, keys=keys, whole=whole)
            if is_bound:
                total = -weighted_bound(latents, cost, doubly=self.draws.bound == "dreg").mean()
            else:
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
        labels = torch.zeros(2, dtype=torch.int64) if self.takes_labels else None
        with torch.enable_grad():
            q = self.posterior(torch.zeros(2, *facts.input_shape), labels)
        p: Distribution = self.prior()
        likelihood = self.likelihood(torch.zeros(2, self.latent_dim), labels)
        parts = (q, p, likelihood)
        misfits = [
            *latent_misfits(self.draws, self.objective, self.baseline, parts, self.latent_dim, facts),
            *optimizer_misfits(latent_optimizers(self, self.objective, self.optimizer)),
        ]
        if misfits:
            raise IncompatibleParts(misfits)
        grey = support_of_a_value(likelihood) is constraints.boolean and facts.values != "binary"
        no_elbo = why_no_elbo(q, p, grey=grey)
        self._has_elbo = not no_elbo
        self.alarms = latent_alarms(
            self.latent_dim, self.objective, self._kl_label, most_information(q), conditional=self.takes_labels
        )
        return tuple(latent_notes(self.objective, self.draws, q, no_elbo, conditional=self.takes_labels))
