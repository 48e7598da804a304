"""The laws of divergences, and of those with a critic. Legend: B batch, D latent."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.adversarial import AdversarialDivergence
from framework.distributions import Delta, DiagonalGaussian, StandardNormal
from framework.divergence import CompositeDivergence, Divergence
from framework.laws import (
    BATCH,
    KEY,
    check_dtype,
    check_finite,
    check_shape,
    check_state,
    check_untouched,
    copy_of,
    fixed_randomness,
    is_close,
    reaches,
    require,
)


def check_divergence(divergence: Divergence | CompositeDivergence, *, latent_dim: int = 3) -> None:
    """Check a divergence; a composite by each of its terms.

    The laws: the value has shape [B], or [] when `aggregate`; it is finite; it has a gradient to z or to q's
    parameters; `aggregate = False` means that each example's value depends on that example alone and that no random
    number is drawn; an aggregate value depends on (q, p, z) and torch's default generator alone; `needs_density` is
    said where q's density is evaluated; inputs are left as they were; float64 in is float64 out, float32 is float32;
    `state_dict` can be loaded back.

    And with a critic: the value has a gradient to z while the critic is frozen; `critic_loss` is a finite scalar of the
    inputs' type, a function of (q, p, z) and torch's default generator alone; it has a gradient to each learned
    parameter of the critic, and none to q's or p's; its metrics are scalars without a graph; it leaves z as it was.

    Args:
        divergence: the part, in float32.
        latent_dim: D, which a divergence may have been built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    if isinstance(divergence, CompositeDivergence):
        terms = divergence.terms()
        require(bool(terms), divergence, "a composite has terms", "return at least one from terms()")
        for term in terms.values():
            check_divergence(term.divergence, latent_dim=latent_dim)
        return
    fresh = copy_of(divergence)
    with fixed_randomness():
        _check_inputs_untouched(divergence, latent_dim)
        for dtype in (torch.float64, torch.float32):
            _check_value(copy_of(fresh).to(dtype), latent_dim, dtype)
        _check_gradient(divergence, latent_dim)
        if divergence.aggregate:
            _check_repeatable(divergence, latent_dim)
        else:
            _check_example_by_example(divergence, latent_dim)
        _check_density(divergence, latent_dim)
        if isinstance(divergence, AdversarialDivergence):
            _check_critic(divergence, latent_dim)
        check_state(divergence, fresh, lambda part: part(*_posterior_prior_sample(latent_dim, torch.float32)[:3]))


def _check_value(divergence: Divergence, latent_dim: int, dtype: torch.dtype) -> None:
    q, p, z, _ = _posterior_prior_sample(latent_dim, dtype)
    value = divergence(q, p, z)
    if divergence.aggregate:
        check_shape(divergence, value, (), "one value for the batch, because aggregate = True", "take the mean")
    else:
        action = "sum over the latent dimensions only, or set aggregate = True"
        check_shape(divergence, value, (BATCH,), "one value an example", action)
    check_finite(divergence, value)
    check_dtype(divergence, dtype, value.dtype)


def _check_gradient(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, leaves = _posterior_prior_sample(latent_dim, torch.float32)
    require(
        reaches(divergence(q, p, z).sum(), leaves),
        divergence,
        "the value has a finite gradient that is not zero to z or to q's parameters",
        "compute it with differentiable operations, without detach, item or argmax",
    )


def _check_inputs_untouched(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, leaves = _posterior_prior_sample(latent_dim, torch.float32)
    inputs = [z.detach(), *(leaf.detach() for leaf in leaves)]
    before = [tensor.clone() for tensor in inputs]
    with torch.no_grad():  # where torch itself does not refuse changes in place
        divergence(q, p, z)
    check_untouched(divergence, before, inputs)


def _check_example_by_example(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, (mean, log_scale) = _posterior_prior_sample(latent_dim, torch.float32)
    before = torch.get_rng_state()
    whole = divergence(q, p, z)
    require(
        torch.equal(before, torch.get_rng_state()),
        divergence,
        "a divergence with aggregate = False draws no random number",
        "use the sample z, or set aggregate = True",
    )
    first, last = slice(None, BATCH // 2), slice(BATCH // 2, None)
    halves = [divergence(DiagonalGaussian(mean[rows], log_scale[rows]), p, z[rows]) for rows in (first, last)]
    require(
        is_close(whole, torch.cat(halves)),
        divergence,
        "with aggregate = False the value of an example does not depend on the others in the batch",
        "set aggregate = True, or compare no examples",
    )


def _check_repeatable(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, _ = _posterior_prior_sample(latent_dim, torch.float32)
    values = []
    for _ in range(2):
        torch.default_generator.manual_seed(KEY)
        values.append(divergence(q, p, z))
    require(
        torch.equal(*values),
        divergence,
        "an aggregate divergence is a function of (q, p, z) and torch's default generator alone",
        "draw with torch's default generator, and keep nothing from one call to the next",
    )


def _check_density(divergence: Divergence, latent_dim: int) -> None:
    _, p, z, (mean, _) = _posterior_prior_sample(latent_dim, torch.float32)
    evaluates = False
    try:
        divergence(Delta(mean), p, z)
    except TypeError:  # what a deterministic posterior answers when it is asked for its density
        evaluates = True
    except ValueError:  # the divergence refuses such a posterior by itself
        pass
    require(
        divergence.needs_density or not evaluates,
        divergence,
        "a divergence that evaluates q's density says so",
        "set needs_density = True",
    )


def _check_critic(divergence: AdversarialDivergence, latent_dim: int) -> None:
    """Check what holds for a critic, as the objective treats it: frozen for the value, and z detached for its loss."""
    q, p, z, _ = _posterior_prior_sample(latent_dim, torch.float32)
    frozen = copy_of(divergence)
    frozen.critic.requires_grad_(False)
    require(
        reaches(frozen(q, p, z), [z]),
        divergence,
        "the value has a finite gradient that is not zero to z while the critic is frozen",
        "compute it from the critic at z, without detach or no_grad",
    )
    for dtype in (torch.float64, torch.float32):
        _check_critic_loss(copy_of(divergence).to(dtype), latent_dim, dtype)
    _check_critic_gradients(divergence, latent_dim)


def _check_critic_loss(divergence: AdversarialDivergence, latent_dim: int, dtype: torch.dtype) -> None:
    q, _, z, _ = _posterior_prior_sample(latent_dim, dtype)
    p, _ = _learned_prior(latent_dim, dtype)
    z = z.detach()
    before, losses = z.clone(), []
    for _ in range(2):
        torch.default_generator.manual_seed(KEY)
        loss, metrics = divergence.critic_loss(q, p, z)
        losses.append(loss)
    check_shape(divergence, loss, (), "one critic_loss for the batch", "take the mean")
    check_finite(divergence, loss)
    check_dtype(divergence, dtype, loss.dtype)
    require(
        torch.equal(*losses),
        divergence,
        "critic_loss is a function of (q, p, z) and torch's default generator alone",
        "draw with torch's default generator, and keep nothing from one call to the next",
    )
    check_untouched(divergence, [before], [z])
    misfits = [name for name, value in metrics.items() if value.shape != () or value.requires_grad]
    require(
        not misfits,
        divergence,
        f"the metrics of critic_loss are of shape [] and have no graph, found {misfits}",
        "take the mean, and detach it",
    )


def _check_critic_gradients(divergence: AdversarialDivergence, latent_dim: int) -> None:
    q, _, z, of_q = _posterior_prior_sample(latent_dim, torch.float32)
    p, of_p = _learned_prior(latent_dim, torch.float32)
    loss, _ = divergence.critic_loss(q, p, z.detach())
    learned = {name: one for name, one in divergence.critic.named_parameters() if one.requires_grad}
    require(bool(learned), divergence, "a critic has parameters that are learned", "make it an nn.Module with some")
    missed = [name for name, parameter in learned.items() if not reaches(loss, [parameter])]
    require(
        not missed,
        divergence,
        f"critic_loss has a finite gradient that is not zero to each parameter of the critic, found none to {missed}",
        "compute it with differentiable operations, and drop parameters that are not used",
    )
    gradients = torch.autograd.grad(loss, [*of_q, *of_p], allow_unused=True)
    require(
        all(gradient is None for gradient in gradients),
        divergence,
        "critic_loss moves the critic alone and has no gradient to q's or p's parameters",
        "take z for q, p.sample and not p.rsample, and densities detached",
    )


def _learned_prior(latent_dim: int, dtype: torch.dtype) -> tuple[Distribution, list[Tensor]]:
    """Return N(m, diag s²), of batch shape (), and its parameters, with gradients."""
    mean, log_scale = (torch.full((latent_dim,), value, dtype=dtype).requires_grad_() for value in (0.2, -0.1))
    return DiagonalGaussian(mean, log_scale), [mean, log_scale]


def _posterior_prior_sample(
    latent_dim: int, dtype: torch.dtype
) -> tuple[DiagonalGaussian, StandardNormal, Tensor, list[Tensor]]:
    """Return q, p, z and q's parameters: always the same numbers, with gradients."""
    generator = torch.Generator().manual_seed(KEY)
    numbers = torch.randn(3, BATCH, latent_dim, generator=generator, dtype=torch.float64).to(dtype)
    mean, log_scale = numbers[0].requires_grad_(), (0.3 * numbers[1] - 0.5).requires_grad_()
    z = mean + log_scale.exp() * numbers[2]  # [B, D]
    return DiagonalGaussian(mean, log_scale), StandardNormal(latent_dim, mean.detach()), z, [mean, log_scale]
