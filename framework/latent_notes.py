"""What a reader of a latent-variable model's numbers should know, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from torch.distributions import Distribution

from framework.distributions import Delta, kl_is_infinite
from framework.latent_draws import Draws
from framework.objective import Objective
from framework.schedule import final_value


def why_no_elbo(q: Distribution, p: Distribution, *, grey: bool) -> list[str]:
    """Return why log p(x|z) − KL(q‖p) would be no bound; nothing where it is one.

    Args:
        q: a posterior.
        p: the prior.
        grey: whether the pixels are grey under a Bernoulli likelihood.
    """
    reasons = []
    if grey:
        reasons.append(
            "no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy and no "
            "likelihood (binarize the data, or take continuous_bernoulli)"
        )
    if isinstance(q, Delta):
        reasons.append("no elbo: the posterior is deterministic and has no density")
    elif kl_is_infinite(q, p):
        reasons.append("no elbo: the posterior reaches beyond the prior, by which KL(q(z|x)‖p) is infinite")
    return reasons


def latent_notes(
    objective: Objective, draws: Draws, q: Distribution, no_elbo: list[str], *, conditional: bool
) -> Iterator[str]:
    """Yield the notes of a model.

    Args:
        objective: whose terms have been run once: they say how they are estimated.
        draws: of latents.
        q: a posterior.
        no_elbo: see `why_no_elbo`.
        conditional: whether the model is of examples given their labels.
    """
    if conditional:
        yield "conditional: every likelihood and divergence is given the label"
    for leaf in objective.leaves:
        if leaf.divergence.estimator:
            yield f"{leaf.label}: {leaf.divergence.estimator}"
    if not q.has_rsample and draws.estimator == "pathwise":
        assert draws.temperature is not None
        temperature = f"{final_value(draws.temperature):g}"
        yield f"trained on relaxed draws of temperature {temperature} at last; judged by true ones"
    yield from no_elbo
    if any(leaf.weight != 0 for leaf in objective.leaves if leaf.label in objective.critics):
        yield "the objective moves with its critics: best.ckpt is the best by a yardstick that changes"
