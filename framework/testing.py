"""The laws that a part must obey, as functions for a plugin's own tests.

Each builds what a part will meet in training, tries it, and raises an AssertionError that names the law which is broken
and what to do. The built-in parts are held to the same laws.

    from framework.testing import check_divergence

    def test_energy_distance() -> None:
        check_divergence(EnergyDistance())

The random numbers of the caller are left as they were. Legend: B batch, D latent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.decoder import Decoder
from framework.distributions import Delta, DiagonalGaussian, StandardNormal
from framework.divergence import CompositeDivergence, Divergence
from framework.encoder import Encoder
from framework.prior import Prior

Part = TypeVar("Part", bound=nn.Module)

_BATCH = 6
_KEY = 2026
# Of float32 sums in another order, relative to the values' size: a few hundred roundings of 6e-8.
_ROUNDING = 1e-5


def check_divergence(divergence: Divergence | CompositeDivergence, *, latent_dim: int = 3) -> None:
    """Check a divergence; a composite by each of its terms.

    The laws: the value has shape [B], or [] when `aggregate`; it is finite; it has a gradient to z or to q's
    parameters; `aggregate = False` means that each example's value depends on that example alone and that no random
    number is drawn; an aggregate value depends on (q, p, z) and torch's default generator alone; `needs_density` is
    said where q's density is evaluated; inputs are left as they were; float64 in is float64 out, float32 is float32;
    `state_dict` can be loaded back.

    Args:
        divergence: the part, in float32.
        latent_dim: D, which a divergence may have been built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    if isinstance(divergence, CompositeDivergence):
        terms = divergence.terms()
        _law(bool(terms), divergence, "a composite has terms", "return at least one from terms()")
        for term in terms.values():
            check_divergence(term.divergence, latent_dim=latent_dim)
        return
    fresh = _copy(divergence)
    with _fixed_randomness():
        _check_inputs_untouched(divergence, latent_dim)
        for dtype in (torch.float64, torch.float32):
            _check_value(_copy(fresh).to(dtype), latent_dim, dtype)
        _check_gradient(divergence, latent_dim)
        if divergence.aggregate:
            _check_repeatable(divergence, latent_dim)
        else:
            _check_example_by_example(divergence, latent_dim)
        _check_density(divergence, latent_dim)
        _check_state(divergence, fresh, lambda part: part(*_posterior_prior_sample(latent_dim, torch.float32)[:3]))


def check_encoder(encoder: Encoder, input_shape: tuple[int, ...], *, latent_dim: int = 3) -> None:
    """Check an encoder.

    The laws: q(z|x) has batch shape [B] and event shape [D]; it is reparametrised, its samples are finite and their
    gradient reaches the parameters; the posterior of an example does not depend on the others in the batch (in
    evaluation mode); inputs are left as they were; float64 in is float64 out, float32 is float32; `state_dict` can be
    loaded back.

    Args:
        encoder: the part, in float32.
        input_shape: the shape of an example.
        latent_dim: D, which the encoder was built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = _copy(encoder)
    with _fixed_randomness():
        x = torch.rand(_BATCH, *input_shape)
        q: Distribution = encoder(x)
        _check_shapes(encoder, q, (_BATCH,), (latent_dim,))
        _law(q.has_rsample, encoder, "a posterior is reparametrised", "return a distribution with has_rsample")
        _check_network(encoder, fresh, x, lambda part, examples: part(examples).rsample())


def check_decoder(decoder: Decoder, input_shape: tuple[int, ...], *, latent_dim: int = 3) -> None:
    """Check a decoder.

    The laws: p(x|z) has batch shape [B] and event shape `input_shape`; it says what data it is for, by `support`; it
    gives what it says a finite log-density, whose gradient reaches the parameters and z; it has a mean of the data's
    shape, to be shown; the likelihood of an example does not depend on the others in the batch (in evaluation mode);
    inputs are left as they were; float64 in is float64 out, float32 is float32; `state_dict` can be loaded back.

    Args:
        decoder: the part, in float32.
        input_shape: the shape of an example.
        latent_dim: D, which the decoder was built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = _copy(decoder)
    with _fixed_randomness():
        z = torch.randn(_BATCH, latent_dim)
        likelihood: Distribution = decoder(z)
        _check_shapes(decoder, likelihood, (_BATCH,), tuple(input_shape))
        x = torch.rand(_BATCH, *input_shape).round()  # zeros and ones, which every likelihood takes
        _law(
            _supports(likelihood, x),
            decoder,
            "a likelihood says by `support` what data it is for",
            "give the distribution a support that holds the data",
        )
        _law(
            likelihood.mean.shape == x.shape,
            decoder,
            f"a likelihood has a mean of the data's shape {list(x.shape)}, found {list(likelihood.mean.shape)}",
            "return a distribution with a mean",
        )
        _check_network(decoder, fresh, z, lambda part, latents: part(latents).log_prob(x.to(latents.dtype)))
        z.requires_grad_()
        _law(
            _reaches(decoder(z).log_prob(x).sum(), [z]),
            decoder,
            "the log-likelihood has a gradient to z",
            "compute it from z with differentiable operations",
        )


def check_prior(prior: Prior, *, latent_dim: int = 3) -> None:
    """Check a prior.

    The laws: p(z) has batch shape () and event shape [D]; its samples are finite and have a finite log-density, with a
    gradient to z and to every parameter that is learned; float64 in is float64 out, float32 is float32; `state_dict`
    can be loaded back.

    Args:
        prior: the part, in float32.
        latent_dim: D, which the prior was built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = _copy(prior)
    with _fixed_randomness():
        p: Distribution = prior()
        _check_shapes(prior, p, (), (latent_dim,))
        z = p.sample(torch.Size([_BATCH]))  # [B, D]
        _law(bool(z.isfinite().all()), prior, "samples are finite", "look for a division by zero or a logarithm of it")
        z.requires_grad_()
        density = p.log_prob(z)
        _check_shape(
            prior, density, (_BATCH,), "a log-density of one value an example", "sum over the latent dimensions"
        )
        _check_finite(prior, density)
        learned = [parameter for parameter in prior.parameters() if parameter.requires_grad]
        for leaf in [z, *learned]:
            _law(
                _reaches(density.sum(), [leaf]),
                prior,
                "the log-density has a gradient to z and to each learned parameter",
                "compute it with differentiable operations, and drop parameters that are not used",
            )
        for dtype in (torch.float64, torch.float32):
            typed = _copy(fresh).to(dtype)()
            found = typed.sample().dtype, typed.log_prob(z.detach().to(dtype)).dtype
            _check_dtype(prior, dtype, *found)
        _check_state(prior, fresh, lambda part: part().log_prob(z.detach()))


def _check_value(divergence: Divergence, latent_dim: int, dtype: torch.dtype) -> None:
    q, p, z, _ = _posterior_prior_sample(latent_dim, dtype)
    value = divergence(q, p, z)
    if divergence.aggregate:
        _check_shape(divergence, value, (), "one value for the batch, because aggregate = True", "take the mean")
    else:
        action = "sum over the latent dimensions only, or set aggregate = True"
        _check_shape(divergence, value, (_BATCH,), "one value an example", action)
    _check_finite(divergence, value)
    _check_dtype(divergence, dtype, value.dtype)


def _check_gradient(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, leaves = _posterior_prior_sample(latent_dim, torch.float32)
    _law(
        _reaches(divergence(q, p, z).sum(), leaves),
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
    _check_untouched(divergence, before, inputs)


def _check_example_by_example(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, (mean, log_scale) = _posterior_prior_sample(latent_dim, torch.float32)
    before = torch.get_rng_state()
    whole = divergence(q, p, z)
    _law(
        torch.equal(before, torch.get_rng_state()),
        divergence,
        "a divergence with aggregate = False draws no random number",
        "use the sample z, or set aggregate = True",
    )
    first, last = slice(None, _BATCH // 2), slice(_BATCH // 2, None)
    halves = [divergence(DiagonalGaussian(mean[rows], log_scale[rows]), p, z[rows]) for rows in (first, last)]
    _law(
        _close(whole, torch.cat(halves)),
        divergence,
        "with aggregate = False the value of an example does not depend on the others in the batch",
        "set aggregate = True, or compare no examples",
    )


def _check_repeatable(divergence: Divergence, latent_dim: int) -> None:
    q, p, z, _ = _posterior_prior_sample(latent_dim, torch.float32)
    values = []
    for _ in range(2):
        torch.default_generator.manual_seed(_KEY)
        values.append(divergence(q, p, z))
    _law(
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
    _law(
        divergence.needs_density or not evaluates,
        divergence,
        "a divergence that evaluates q's density says so",
        "set needs_density = True",
    )


def _check_network(
    part: Encoder | Decoder, fresh: Encoder | Decoder, inputs: Tensor, output: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    """Check what holds for both ends of an autoencoder; `output` is a number for each example, or some."""
    before = inputs.clone()
    with torch.no_grad():
        output(part, inputs)
    _check_untouched(part, [before], [inputs])
    value = output(part, inputs)
    _check_finite(part, value)
    learned = [parameter for parameter in part.parameters() if parameter.requires_grad]
    # The sum of squares, because a plain sum of a normalised output may have no gradient.
    _law(
        not learned or _reaches(value.square().sum(), learned),
        part,
        "the output has a finite gradient that is not zero to the parameters",
        "compute it with differentiable operations, without detach or item",
    )
    for dtype in (torch.float64, torch.float32):
        _check_dtype(part, dtype, output(_copy(fresh).to(dtype), inputs.to(dtype)).dtype)
    still = _copy(fresh).eval()
    half = len(inputs) // 2
    with torch.no_grad():
        means = [still(rows).mean for rows in (inputs, inputs[:half], inputs[half:])]
    _law(
        _close(means[0], torch.cat(means[1:])),
        part,
        "what an example is mapped to does not depend on the others in the batch",
        "normalise by layer or group and not by batch",
    )
    _check_state(part, fresh, lambda other: other(inputs).mean)


def _posterior_prior_sample(
    latent_dim: int, dtype: torch.dtype
) -> tuple[DiagonalGaussian, StandardNormal, Tensor, list[Tensor]]:
    """Return q, p, z and q's parameters: always the same numbers, with gradients."""
    generator = torch.Generator().manual_seed(_KEY)
    numbers = torch.randn(3, _BATCH, latent_dim, generator=generator, dtype=torch.float64).to(dtype)
    mean, log_scale = numbers[0].requires_grad_(), (0.3 * numbers[1] - 0.5).requires_grad_()
    z = mean + log_scale.exp() * numbers[2]  # [B, D]
    return DiagonalGaussian(mean, log_scale), StandardNormal(latent_dim, mean.detach()), z, [mean, log_scale]


@contextmanager
def _fixed_randomness() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(_KEY)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _law(holds: bool, part: object, law: str, action: str) -> None:
    """Raise an AssertionError, by name and not by `assert`, which python -O leaves out."""
    if not holds:
        raise AssertionError(f"{type(part).__name__}: {law}; {action}")


def _check_shape(part: object, value: Tensor, expected: tuple[int, ...], law: str, action: str) -> None:
    shape = list(value.shape)
    _law(tuple(shape) == expected, part, f"expected {law}, of shape {list(expected)}, found {shape}", action)


def _check_shapes(part: object, distribution: Distribution, batch: tuple[int, ...], event: tuple[int, ...]) -> None:
    found = f"batch shape {list(distribution.batch_shape)} and event shape {list(distribution.event_shape)}"
    _law(
        tuple(distribution.batch_shape) == batch and tuple(distribution.event_shape) == event,
        part,
        f"expected a distribution of batch shape {list(batch)} and event shape {list(event)}, found {found}",
        "torch.distributions.Independent makes batch dimensions part of the event",
    )


def _check_finite(part: object, value: Tensor) -> None:
    action = "look for a division by zero or a logarithm of it"
    _law(bool(value.isfinite().all()), part, f"values are finite, found {value.tolist()}", action)


def _check_dtype(part: object, expected: torch.dtype, *found: torch.dtype) -> None:
    _law(
        all(dtype == expected for dtype in found),
        part,
        f"{expected} in is {expected} out, found {found[0] if len(found) == 1 else found}",
        "make constants with the input's dtype (new_zeros, like=…) and register them as buffers",
    )


def _check_untouched(part: object, before: list[Tensor], after: list[Tensor]) -> None:
    _law(
        all(torch.equal(one, other) for one, other in zip(before, after, strict=True)),
        part,
        "inputs are left as they were",
        "change no input in place (add_, clamp_, out=…)",
    )


def _check_state(part: nn.Module, fresh: nn.Module, output: Callable[[nn.Module], Tensor]) -> None:
    """Load the state of a part that has been used into one that has not: it must then be the same part."""
    action = "keep what is learned or counted in parameters and buffers, made in the constructor"
    plain = [name for module in part.modules() for name, value in vars(module).items() if isinstance(value, Tensor)]
    _law(not plain, part, f"tensors are parameters or buffers, found attributes {plain}", "use register_buffer")
    differences = fresh.load_state_dict(part.state_dict(), strict=False)
    _law(not any(differences), part, f"state_dict can be loaded back, found {differences}", action)
    values = []
    with torch.no_grad():
        for one in (part.eval(), fresh.eval()):
            torch.default_generator.manual_seed(_KEY)
            values.append(output(one))
    part.train()
    _law(torch.equal(*values), part, "state_dict holds all that the part's values depend on", action)


def _supports(likelihood: Distribution, x: Tensor) -> bool:
    try:
        support: Any = likelihood.support
    except NotImplementedError:  # torch's answer where a distribution says nothing
        return False
    return bool(support.check(x).all())


def _copy(part: Part) -> Part:
    try:
        return copy.deepcopy(part)
    except (TypeError, RuntimeError) as error:
        action = "keep no lock, no file and no result with a graph as an attribute"
        raise AssertionError(f"{type(part).__name__}: a part can be copied, found {error}; {action}") from error


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= _ROUNDING * (1 + one.abs())).all())


def _reaches(value: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Return whether the value's gradient is finite, and not zero for at least one of the leaves."""
    if not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    found = [gradient for gradient in gradients if gradient is not None]
    finite = all(bool(gradient.isfinite().all()) for gradient in found)
    return finite and any(bool(gradient.any()) for gradient in found)
