"""The lean distributions against torch's own, and KL(q‖p) against torch, quadrature and Monte Carlo.

Tolerances: float64 results agree to 1e-12 relative, a few dozen roundings; float32 to 1e-5. Estimates are within four
standard errors of what they estimate, at a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Cauchy,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
)

from framework.distributions import (
    BernoulliLogits,
    Delta,
    DiagonalGaussian,
    StandardNormal,
    closed_form_kl,
    kl_divergence,
    matching_draws,
)

TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}
EVENTS = [(3,), (2, 4, 3)]
DTYPES = [torch.float32, torch.float64]

each_event = pytest.mark.parametrize("event", EVENTS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def numbers(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gaussian_pair(event: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[DiagonalGaussian, Independent]:
    mean, log_scale = numbers(2, 5, *event, dtype=dtype, seed=seed)
    theirs = Independent(Normal(mean, log_scale.exp(), validate_args=False), len(event), validate_args=False)
    return DiagonalGaussian(mean, log_scale, len(event)), theirs


def bernoulli_pair(event: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[BernoulliLogits, Independent]:
    logits = 3 * numbers(5, *event, dtype=dtype, seed=seed)
    theirs = Independent(Bernoulli(logits=logits, validate_args=False), len(event), validate_args=False)
    return BernoulliLogits(logits, len(event)), theirs


def standard_pair(event: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[StandardNormal, Independent]:
    zeros = torch.zeros(event, dtype=dtype)
    theirs = Independent(Normal(zeros, zeros + 1, validate_args=False), 1, validate_args=False)
    return StandardNormal(event[0], torch.zeros((), dtype=dtype)), theirs


Pair = Callable[..., tuple[Distribution, Distribution]]
PAIRS = [(gaussian_pair, event) for event in EVENTS] + [(bernoulli_pair, event) for event in EVENTS]
each_pair = pytest.mark.parametrize(
    ("pair", "event"), [*PAIRS, (standard_pair, (3,))], ids=lambda value: getattr(value, "__name__", str(value))
)


@each_dtype
@each_pair
def test_shapes_moments_and_entropy_are_torchs(pair: Pair, event: tuple[int, ...], dtype: torch.dtype) -> None:
    ours, theirs = pair(event, dtype)
    assert ours.batch_shape == theirs.batch_shape
    assert ours.event_shape == theirs.event_shape == event
    for name in ("mean", "variance", "stddev"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **TOLERANCE[dtype])
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), **TOLERANCE[dtype])


@each_dtype
@pytest.mark.parametrize("samples", [(), (7,)], ids=["one each", "seven each"])
@each_pair
def test_log_prob_is_torchs(pair: Pair, event: tuple[int, ...], samples: tuple[int, ...], dtype: torch.dtype) -> None:
    ours, theirs = pair(event, dtype)
    value = theirs.sample(torch.Size(samples))
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value), **TOLERANCE[dtype])
    assert ours.log_prob(value).shape == (*samples, *ours.batch_shape)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_bernoulli_log_prob_and_its_gradient_are_finite_at_extreme_logits(logit: float) -> None:
    logits = torch.full((1, 2), logit, requires_grad=True)
    value = BernoulliLogits(logits).log_prob(torch.tensor([[0.0, 1.0]]))
    value.sum().backward()
    assert value.item() == -200.0  # one of the two is sure, the other costs |logit|
    assert torch.equal(logits.grad, torch.tensor([[0.0, 1.0]]) - torch.sigmoid(torch.tensor(logit)))


@each_dtype
@each_event
def test_gaussian_sample_is_the_mean_plus_scale_times_noise(event: tuple[int, ...], dtype: torch.dtype) -> None:
    ours, theirs = gaussian_pair(event, dtype)
    torch.manual_seed(1)
    z = ours.rsample((2,))
    torch.manual_seed(1)
    noise = torch.randn(2, 5, *event, dtype=dtype)
    assert z.dtype == dtype
    torch.testing.assert_close(z, theirs.mean + theirs.stddev * noise, **TOLERANCE[dtype])


def test_gaussian_sample_has_the_pathwise_gradient() -> None:
    mean, log_scale = (part.requires_grad_() for part in numbers(2, 4, 3, dtype=torch.float64).unbind())
    z = DiagonalGaussian(mean, log_scale).rsample()
    weights = numbers(4, 3, dtype=torch.float64, seed=2)
    of_mean, of_log_scale = torch.autograd.grad((weights * z).sum(), [mean, log_scale])
    # z = μ + σ ε: ∂z/∂μ = 1, ∂z/∂log σ = σ ε = z − μ
    torch.testing.assert_close(of_mean, weights, rtol=0, atol=0)
    torch.testing.assert_close(of_log_scale, weights * (z - mean).detach(), **TOLERANCE[torch.float64])


def test_samples_have_the_stated_moments() -> None:
    count = 40_000
    torch.manual_seed(3)
    gaussian, _ = gaussian_pair((3,), torch.float64)
    bernoulli, _ = bernoulli_pair((3,), torch.float64)
    for distribution in (gaussian, bernoulli, StandardNormal(3, torch.zeros((), dtype=torch.float64))):
        x = distribution.sample((count,))
        deviation = (x.mean(0) - distribution.mean).abs()
        assert (deviation < 4 * (distribution.variance / count).sqrt()).all()
        # Var of the sample variance is (κ − 1) σ⁴/n with a kurtosis κ of 3 for a Gaussian; measured for the other.
        squares = (x - distribution.mean).square()
        assert ((squares.mean(0) - distribution.variance).abs() < 4 * squares.std(0) / math.sqrt(count)).all()


def test_one_scale_for_all_pixels_broadcasts() -> None:
    mean = numbers(5, 2, 3, dtype=torch.float64)
    one, many = DiagonalGaussian(mean, torch.tensor(0.3).double(), 2), DiagonalGaussian(mean, mean * 0 + 0.3, 2)
    x = numbers(5, 2, 3, dtype=torch.float64, seed=1)
    for name in ("mean", "variance", "stddev"):
        assert getattr(one, name).shape == mean.shape
        torch.testing.assert_close(getattr(one, name), getattr(many, name))
    torch.testing.assert_close(one.log_prob(x), many.log_prob(x))
    torch.testing.assert_close(one.entropy(), many.entropy())
    other = DiagonalGaussian(x, torch.tensor(-0.2).double(), 2)
    torch.testing.assert_close(closed_form_kl(one, other), closed_form_kl(many, DiagonalGaussian(x, mean * 0 - 0.2, 2)))


def test_delta_is_a_point_without_a_density() -> None:
    point = numbers(4, 3, dtype=torch.float32).requires_grad_()
    delta = Delta(point)
    assert (delta.batch_shape, delta.event_shape) == ((4,), (3,))
    assert torch.equal(delta.rsample(), point)
    assert torch.equal(delta.sample((2,)), torch.stack([point, point]))
    assert torch.equal(torch.autograd.grad(delta.rsample().sum(), point)[0], torch.ones_like(point))
    assert torch.equal(delta.mean, point)
    assert not delta.variance.any()
    with pytest.raises(TypeError, match=r"a deterministic posterior has no density: log q\(z\|x\) does not exist"):
        delta.log_prob(point)


@each_dtype
@each_event
@pytest.mark.parametrize("pair", [gaussian_pair, bernoulli_pair])
def test_kl_of_two_is_torchs(pair: Pair, event: tuple[int, ...], dtype: torch.dtype) -> None:
    (q, their_q), (p, their_p) = pair(event, dtype), pair(event, dtype, seed=9)
    expected = torch.distributions.kl_divergence(their_q, their_p)
    # float32: exp of a difference of log-scales of about 4 amplifies a rounding by that much
    tolerance = {"rtol": 3e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(closed_form_kl(q, p), expected, **tolerance)
    torch.testing.assert_close(closed_form_kl(q, q), torch.zeros(5, dtype=dtype), **tolerance)


@each_dtype
def test_kl_to_the_standard_normal_is_torchs(dtype: torch.dtype) -> None:
    (q, their_q), (p, their_p) = gaussian_pair((3,), dtype), standard_pair((3,), dtype)
    expected = torch.distributions.kl_divergence(their_q, their_p)
    torch.testing.assert_close(closed_form_kl(q, p), expected, **TOLERANCE[dtype])
    torch.testing.assert_close(kl_divergence(q, p, z=torch.empty(0)), expected, **TOLERANCE[dtype])


def test_kl_is_the_integral_that_defines_it() -> None:
    mean, scale = 0.7, 0.4
    q = DiagonalGaussian(*torch.tensor([[[mean]], [[math.log(scale)]]], dtype=torch.float64))
    p = StandardNormal(1, torch.zeros((), dtype=torch.float64))

    def integrand(z: float) -> float:
        log_q = -0.5 * ((z - mean) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))
        log_p = -0.5 * z**2 - math.log(math.sqrt(2 * math.pi))
        return math.exp(log_q) * (log_q - log_p)

    expected, error = quad(integrand, mean - 12 * scale, mean + 12 * scale, epsabs=1e-11)
    assert error < 1e-10
    assert closed_form_kl(q, p).item() == pytest.approx(expected, abs=1e-10)


def test_known_mistake_kl_is_summed_over_dimensions() -> None:
    """A known mistake: a KL averaged over dimensions would stay as it is when they are doubled."""
    mean, log_scale = numbers(2, 5, 3, dtype=torch.float64)
    once = DiagonalGaussian(mean, log_scale)
    twice = DiagonalGaussian(mean.repeat(1, 2), log_scale.repeat(1, 2))
    like = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(
        closed_form_kl(twice, StandardNormal(6, like)), 2 * closed_form_kl(once, StandardNormal(3, like))
    )


def test_kl_to_a_mixture_is_estimated_without_bias() -> None:
    mean, log_scale = torch.tensor([[0.5]]).double(), torch.tensor([[-0.4]]).double()
    q = DiagonalGaussian(mean, log_scale)
    weights, means, scales = [0.3, 0.7], [-1.0, 1.5], [0.6, 0.9]
    p = MixtureSameFamily(
        Categorical(torch.tensor(weights).double()),
        DiagonalGaussian(torch.tensor(means).double()[:, None], torch.tensor(scales).double()[:, None].log()),
        validate_args=False,
    )
    assert closed_form_kl(q, p) is None

    def integrand(z: float) -> float:
        log_q = float(q.log_prob(torch.tensor([[z]]).double()))
        density = sum(
            weight * math.exp(-0.5 * ((z - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
            for weight, m, s in zip(weights, means, scales, strict=True)
        )
        return math.exp(log_q) * (log_q - math.log(density))

    exact, _ = quad(integrand, -7.0, 8.0, epsabs=1e-9)
    torch.manual_seed(4)
    count = 50_000
    many = DiagonalGaussian(mean.expand(count, 1), log_scale.expand(count, 1))
    estimates = kl_divergence(many, p, many.rsample())
    assert estimates.shape == (count,)
    assert (estimates < 0).any()  # one sample's estimate may be negative, as the docstring says
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / math.sqrt(count)


def test_closed_forms_are_found_for_the_distributions_and_not_for_their_types() -> None:
    one = torch.zeros(4, 3)
    normal = Independent(Normal(one, one + 1), 1)
    laplace, cauchy = (Independent(family(one, one + 1), 1) for family in (Laplace, Cauchy))
    gaussian, standard = DiagonalGaussian(one, one), StandardNormal(3, one)
    exact = [(gaussian, standard), (gaussian, gaussian), (normal, normal), (laplace, normal)]
    for q, p in [*exact, (BernoulliLogits(one), BernoulliLogits(one))]:
        assert closed_form_kl(q, p) is not None
    for q, p in [(standard, gaussian), (cauchy, normal), (Delta(one), standard), (laplace, standard)]:
        assert closed_form_kl(q, p) is None
    # A pair of Independents without a closed form takes it from no other pair.
    assert closed_form_kl(normal, normal) is not None
    assert (
        closed_form_kl(Independent(Normal(one[None], one[None] + 1), 1), Independent(Normal(one, one + 1), 2)) is None
    )


def test_a_gaussian_in_torchs_words_has_closed_forms_with_the_lean_ones() -> None:
    (q, their_q), (p, their_p) = gaussian_pair((3,), torch.float64), gaussian_pair((3,), torch.float64, seed=9)
    standard, their_standard = standard_pair((3,), torch.float64)
    expected = torch.distributions.kl_divergence(their_q, their_p)
    for mixed in ((q, their_p), (their_q, p)):
        torch.testing.assert_close(closed_form_kl(*mixed), expected, **TOLERANCE[torch.float64])
    expected = torch.distributions.kl_divergence(their_q, their_standard)
    torch.testing.assert_close(closed_form_kl(their_q, standard), expected, **TOLERANCE[torch.float64])


def test_kl_of_a_deterministic_posterior_is_an_error() -> None:
    point = torch.zeros(2, 3)
    with pytest.raises(TypeError, match="has no density"):
        kl_divergence(Delta(point), StandardNormal(3, point), point)


def test_a_closed_form_that_is_registered_later_is_used() -> None:
    class Late(DiagonalGaussian):
        """A distribution of a plugin that is loaded after others have been used."""

    point = torch.zeros(2, 3)
    p = MixtureSameFamily(Categorical(torch.ones(1)), Late(point[:1], point[:1]), validate_args=False)
    assert closed_form_kl(Late(point, point), p) is None
    torch.distributions.register_kl(Late, MixtureSameFamily)(lambda q, p: q.mean.sum(-1))
    assert torch.equal(closed_form_kl(Late(point, point), p), torch.zeros(2))


def test_draws_that_match_latents_carry_a_gradient_to_a_prior_that_can_be_reparametrised() -> None:
    mean, z = torch.zeros(3, requires_grad=True), numbers(4, 3, dtype=torch.float32)
    moved = matching_draws(DiagonalGaussian(mean, torch.zeros(3)), z)
    (gradient,) = torch.autograd.grad(moved.sum(), mean)
    assert torch.equal(gradient, torch.full((3,), 4.0))
    bits = matching_draws(BernoulliLogits(mean), z)
    assert bits.shape == (4, 3)
    assert not bits.requires_grad
