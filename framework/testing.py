"""The laws that a part must obey, as functions for a plugin's own tests.

Each builds what a part will meet in training, tries it, and raises an AssertionError that names the law which is broken
and what to do. The built-in parts are held to the same laws.

    from framework.testing import check_divergence

    def test_energy_distance() -> None:
        check_divergence(EnergyDistance())

The random numbers of the caller are left as they were. Legend: B batch, D latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.baseline_laws import check_baseline as check_baseline
from framework.decoder import Decoder
from framework.discrete import is_discrete
from framework.divergence_laws import check_divergence as check_divergence
from framework.encoder import Encoder
from framework.laws import (
    BATCH,
    check_dtype,
    check_finite,
    check_shape,
    check_shapes,
    check_state,
    check_untouched,
    copy_of,
    fixed_randomness,
    is_close,
    reaches,
    require,
)
from framework.policy_laws import check_policy as check_policy
from framework.policy_laws import check_trunk as check_trunk
from framework.prior import Prior
from framework.update_laws import check_update as check_update


def check_encoder(encoder: Encoder, input_shape: tuple[int, ...], *, latent_dim: int = 3) -> None:
    """Check an encoder.

    The laws: q(z|x) has batch shape [B] and event shape [D]; it is reparametrised, its samples are finite and their
    gradient reaches the parameters (of a discrete posterior, which cannot be, the mean's gradient does); the posterior
    of an example does not depend on the others in the batch (in evaluation mode); inputs are left as they were; float64
    in is float64 out, float32 is float32; `state_dict` can be loaded back.

    Args:
        encoder: the part, in float32.
        input_shape: the shape of an example.
        latent_dim: D, which the encoder was built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = copy_of(encoder)
    with fixed_randomness():
        x = torch.rand(BATCH, *input_shape)
        q: Distribution = encoder(x)
        check_shapes(encoder, q, (BATCH,), (latent_dim,))
        require(
            q.has_rsample or bool(is_discrete(q)),
            encoder,
            "a posterior is reparametrised, or discrete",
            "return a distribution with has_rsample",
        )
        _check_network(encoder, fresh, x, lambda part, examples: _reparametrised(part(examples)))


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
    fresh = copy_of(decoder)
    with fixed_randomness():
        z = torch.randn(BATCH, latent_dim)
        likelihood: Distribution = decoder(z)
        check_shapes(decoder, likelihood, (BATCH,), tuple(input_shape))
        x = torch.rand(BATCH, *input_shape).round()  # zeros and ones, which every likelihood takes
        require(
            _supports(likelihood, x),
            decoder,
            "a likelihood says by `support` what data it is for",
            "give the distribution a support that holds the data",
        )
        require(
            likelihood.mean.shape == x.shape,
            decoder,
            f"a likelihood has a mean of the data's shape {list(x.shape)}, found {list(likelihood.mean.shape)}",
            "return a distribution with a mean",
        )
        _check_network(decoder, fresh, z, lambda part, latents: part(latents).log_prob(x.to(latents.dtype)))
        z.requires_grad_()
        require(
            reaches(decoder(z).log_prob(x).sum(), [z]),
            decoder,
            "the log-likelihood has a gradient to z",
            "compute it from z with differentiable operations",
        )


def check_prior(prior: Prior, *, latent_dim: int = 3, encoder: Encoder | None = None) -> None:
    """Check a prior.

    The laws: p(z) has batch shape () and event shape [D]; its samples are finite and have a finite log-density, with a
    gradient to z and to every parameter that is learned; float64 in is float64 out, float32 is float32; `state_dict`
    can be loaded back; an encoder that it was lent is not one of its own modules.

    Two have no gradient to z and need none: a probability of discrete latents, and a uniform density, which has to be
    zero far away instead.

    Args:
        prior: the part, in float32.
        latent_dim: D, which the prior was built for.
        encoder: the one that the prior was built with, where it asks for one; it is moved and saved beside the prior,
            as a learner does.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    if encoder is not None:
        require(
            all(module is not encoder for module in prior.modules()),
            prior,
            "the encoder is the learner's, and no module of the prior",
            "keep it in a tuple, self.lent = (encoder,), which torch does not register",
        )
    whole = prior if encoder is None else nn.ModuleDict({"prior": prior, "encoder": encoder})
    fresh = copy_of(whole)
    with fixed_randomness():
        p: Distribution = prior()
        check_shapes(prior, p, (), (latent_dim,))
        z = p.sample(torch.Size([BATCH]))  # [B, D]
        require(
            bool(z.isfinite().all()), prior, "samples are finite", "look for a division by zero or a logarithm of it"
        )
        z.requires_grad_()
        density = p.log_prob(z)
        check_shape(prior, density, (BATCH,), "a log-density of one value an example", "sum over the latent dimensions")
        check_finite(prior, density)
        learned = [parameter for parameter in prior.parameters() if parameter.requires_grad]
        for leaf in learned if is_discrete(p) or _is_uniform(p, density) else [z, *learned]:
            require(
                reaches(density.sum(), [leaf]),
                prior,
                "the log-density has a gradient to z and to each learned parameter",
                "compute it with differentiable operations, and drop parameters that are not used",
            )
        for dtype in (torch.float64, torch.float32):
            typed = _prior_of(copy_of(fresh).to(dtype))()
            found = typed.sample().dtype, typed.log_prob(z.detach().to(dtype)).dtype
            check_dtype(prior, dtype, *found)
        check_state(whole, fresh, lambda part: _prior_of(part)().log_prob(z.detach()))


def _prior_of(whole: nn.Module) -> nn.Module:
    return whole if isinstance(whole, Prior) else whole.get_submodule("prior")


def _is_uniform(p: Distribution, density: Tensor) -> bool:
    """Return whether a log-density is the same at all samples, [B], and zero mass is left far away."""
    far = torch.full((1, *p.event_shape), 1e6, dtype=density.dtype)
    return bool((density == density[0]).all()) and bool(p.log_prob(far).isneginf().all())


def _check_network(
    part: Encoder | Decoder, fresh: Encoder | Decoder, inputs: Tensor, output: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    """Check what holds for both ends of an autoencoder; `output` is a number for each example, or some."""
    before = inputs.clone()
    with torch.no_grad():
        output(part, inputs)
    check_untouched(part, [before], [inputs])
    value = output(part, inputs)
    check_finite(part, value)
    learned = [parameter for parameter in part.parameters() if parameter.requires_grad]
    # The sum of squares, because a plain sum of a normalised output may have no gradient.
    require(
        not learned or reaches(value.square().sum(), learned),
        part,
        "the output has a finite gradient that is not zero to the parameters",
        "compute it with differentiable operations, without detach or item",
    )
    for dtype in (torch.float64, torch.float32):
        check_dtype(part, dtype, output(copy_of(fresh).to(dtype), inputs.to(dtype)).dtype)
    still = copy_of(fresh).eval()
    half = len(inputs) // 2
    with torch.no_grad():
        means = [still(rows).mean for rows in (inputs, inputs[:half], inputs[half:])]
    require(
        is_close(means[0], torch.cat(means[1:])),
        part,
        "what an example is mapped to does not depend on the others in the batch",
        "normalise by layer or group and not by batch",
    )
    check_state(part, fresh, lambda other: other(inputs).mean)


def _reparametrised(q: Distribution) -> Tensor:
    """Return a draw with a gradient to q's parameters; of a discrete q, its mean."""
    return q.rsample() if q.has_rsample else q.mean


def _supports(likelihood: Distribution, x: Tensor) -> bool:
    try:
        support: Any = likelihood.support
    except NotImplementedError:  # torch's answer where a distribution says nothing
        return False
    return bool(support.check(x).all())
