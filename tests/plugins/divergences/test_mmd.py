"""MMD² against double loops in numpy, autograd in float64, quadrature, and the facts of its statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import Independent, Normal

from framework import OptionError, mmd_of_samples
from framework.distributions import Delta, DiagonalGaussian, StandardNormal
from framework.mmd_of_samples import mmd_squared
from framework_plugins.divergences.mmd import MMD, _imq_as_rbf, gaussian_mmd_squared

KERNELS: dict[str, Callable[[float, float], float]] = {
    "rbf": lambda squared, s: math.exp(-squared / s),
    "imq": lambda squared, s: s / (s + squared),
}
WIDTHS = {"rbf": (3.0, 8.0), "imq": (0.6, 6.0, 60.0)}
EVERY_KIND = pytest.mark.parametrize(("kernel", "statistic"), [(k, s) for k in KERNELS for s in "uv"])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd_of_samples, "_CPU_BLOCK", 8)


def two_samples(n: int, m: int, dimension: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, dimension, generator=generator, dtype=torch.float64) * 0.8 + 0.3
    return z.to(dtype), torch.randn(m, dimension, generator=generator, dtype=torch.float64).to(dtype)


def by_double_loop(z: Tensor, w: Tensor, kernel: str, statistic: str) -> float:
    def mean(a: np.ndarray, b: np.ndarray, leave_out: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (leave_out and i == j)]
        values = [sum(KERNELS[kernel](float(((a[i] - b[j]) ** 2).sum()), s) for s in WIDTHS[kernel]) for i, j in pairs]
        return sum(values) / len(pairs)

    a, b = z.numpy().astype(np.float64), w.numpy().astype(np.float64)
    return mean(a, a, statistic == "u") + mean(b, b, statistic == "u") - 2 * mean(a, b, False)


def by_broadcast(z: Tensor, w: Tensor, kernel: str, widths: tuple[float, ...], statistic: str) -> Tensor:
    def matrix(a: Tensor, b: Tensor) -> Tensor:
        squared = (a[:, None] - b[None]).square().sum(-1)
        return torch.stack([(-squared / s).exp() if kernel == "rbf" else s / (s + squared) for s in widths]).sum(0)

    def within(a: Tensor) -> Tensor:
        k = matrix(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1)) if statistic == "u" else k.mean()

    return within(z) + within(w) - 2 * matrix(z, w).mean()


# Around blocks of 8: inside one, exactly full, one point over, several with a partial last, and unequal samples.
@pytest.mark.parametrize(("n", "m"), [(2, 2), (7, 7), (8, 8), (9, 9), (21, 21), (16, 5), (5, 19)])
@EVERY_KIND
def test_value_is_that_of_a_double_loop(kernel: str, statistic: str, n: int, m: int, small_blocks: None) -> None:
    z, w = two_samples(n, m, 3)
    expected = by_double_loop(z, w, kernel, statistic)
    # float64 on both sides: only the order of summation differs
    assert mmd_squared(z, w, kernel, WIDTHS[kernel], statistic).item() == pytest.approx(expected, rel=1e-11, abs=1e-13)
    # the kernel is evaluated in float32, each value to 6e-8, and means of up to six are compared
    single = mmd_squared(z.float(), w.float(), kernel, WIDTHS[kernel], statistic)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(by_double_loop(z.float(), w.float(), kernel, statistic), abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(21, 21), (16, 5)])
@EVERY_KIND
def test_gradients_are_those_of_autograd(kernel: str, statistic: str, n: int, m: int, small_blocks: None) -> None:
    z, w = (points.requires_grad_() for points in two_samples(n, m, 3))
    found = torch.autograd.grad(2.5 * mmd_squared(z, w, kernel, WIDTHS[kernel], statistic), (z, w))
    expected = torch.autograd.grad(2.5 * by_broadcast(z, w, kernel, WIDTHS[kernel], statistic), (z, w))
    for ours, autograd in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, autograd, rtol=1e-11, atol=1e-14)  # float64 on both sides


@EVERY_KIND
def test_gradcheck(kernel: str, statistic: str, small_blocks: None) -> None:
    z, w = (points.requires_grad_() for points in two_samples(10, 9, 2))
    assert torch.autograd.gradcheck(lambda a, b: mmd_squared(a, b, kernel, WIDTHS[kernel], statistic), (z, w))


@pytest.mark.parametrize("wanted", ["z", "w"])
def test_gradient_flows_to_one_sample_alone(wanted: str) -> None:
    z, w = two_samples(12, 12, 3)
    points = (z if wanted == "z" else w).requires_grad_()
    mmd_squared(z, w, "imq", (6.0,)).backward()
    expected = torch.autograd.grad(by_broadcast(z, w, "imq", (6.0,), "u"), points)[0]
    assert (z.grad is None) is (wanted == "w")
    torch.testing.assert_close(points.grad, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_keeps_six_digits_wherever_the_origin_is(kernel: str, shift: float) -> None:
    """The bar of 1e-6; r² from uncentred float32 squares would err by about 1 at a shift of 1000."""
    widths = tuple(32 * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    z, w = (points + shift for points in two_samples(300, 300, 16, torch.float32))
    exact = z.double().requires_grad_()
    expected = by_broadcast(exact, w.double(), kernel, widths, "u")
    gradient = torch.autograd.grad(expected, exact)[0]
    value = mmd_squared(z.requires_grad_(), w, kernel, widths)
    value.backward()
    assert z.grad is not None
    assert z.grad.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    assert (z.grad - gradient).abs().max() < 1e-6 * gradient.abs().max()


def test_autocast_changes_nothing() -> None:
    z, w = two_samples(40, 40, 4, torch.float32)
    z.requires_grad_()
    plain = torch.autograd.grad(mmd_squared(z, w, "imq", WIDTHS["imq"]), z)[0]
    with torch.autocast("cpu", torch.bfloat16):
        value = mmd_squared(z, w, "imq", WIDTHS["imq"])
    assert torch.equal(torch.autograd.grad(value, z)[0], plain)


def test_half_precision_is_computed_in_single() -> None:
    z, w = two_samples(40, 40, 4, torch.bfloat16)
    value = mmd_squared(z.requires_grad_(), w, "rbf", (8.0,))
    value.backward()
    assert value.dtype == torch.float32
    assert z.grad is not None
    assert z.grad.dtype == torch.bfloat16
    assert value.item() == pytest.approx(mmd_squared(z.double(), w.double(), "rbf", (8.0,)).item(), abs=1e-6)


def test_without_grad_the_value_is_the_same() -> None:
    z, w = two_samples(40, 40, 4)
    with torch.no_grad():
        value = mmd_squared(z.requires_grad_(), w, "imq", (8.0,))
    assert not value.requires_grad
    assert value == mmd_squared(z, w, "imq", (8.0,))


@pytest.mark.parametrize("kernel", KERNELS)
def test_u_is_unbiased_and_v_has_the_stated_bias(kernel: str) -> None:
    """With q = p the u statistic has mean 0, and v has (1 − E k)/n for each set and scale."""
    n, dimension, s = 20, 3, 6.0
    generator = torch.Generator().manual_seed(1)
    pairs = [torch.randn(2, n, dimension, generator=generator, dtype=torch.float64) for _ in range(2000)]
    values = {t: np.array([mmd_squared(z, w, kernel, (s,), t).item() for z, w in pairs]) for t in ("u", "v")}
    # E k for two draws of N(0, I): r² is twice a chi-squared variable
    expected_kernel = quad(lambda x: KERNELS[kernel](2 * x, s) * chi2.pdf(x, dimension), 0, math.inf)[0]
    for statistic, mean in (("u", 0.0), ("v", 2 * (1 - expected_kernel) / n)):
        error = values[statistic].std(ddof=1) / math.sqrt(len(pairs))
        assert abs(values[statistic].mean() - mean) < 4 * error
    # so that the bound above can fail: a diagonal left in, or one division too many, moves the mean by more than this
    assert 2 * (1 - expected_kernel) / n > 20 * error
    assert (values["v"] >= 0).all()
    assert (values["u"] < 0).mean() == pytest.approx(0.5, abs=0.2)


@EVERY_KIND
def test_same_mean_and_other_variance_is_a_distance(kernel: str, statistic: str) -> None:
    """An "MMD" that is an L2 distance of means would be zero here."""
    z, w = two_samples(400, 400, 4)
    z = 0.5 * (z - z.mean(0))
    w = w - w.mean(0)
    same = mmd_squared(w[:200], w[200:], kernel, (8.0,), statistic)
    assert mmd_squared(z, w, kernel, (8.0,), statistic) > max(0.01, 3 * same.item())


def test_rbf_is_divided_by_the_number_of_pairs_alone() -> None:
    """Two points a set, by hand: not by n² and by n(n − 1) both."""
    z, w = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [4.0]])
    k = {squared: math.exp(-squared / 2) for squared in (0, 1, 4, 9, 16)}
    across = (k[4] + k[16] + k[1] + k[9]) / 4
    u, v = k[1] + k[4] - 2 * across, (1 + k[1]) / 2 + (1 + k[4]) / 2 - 2 * across
    # float32 throughout
    assert mmd_squared(z, w, "rbf", (2.0,), "u").item() == pytest.approx(u, abs=1e-6)
    assert mmd_squared(z, w, "rbf", (2.0,), "v").item() == pytest.approx(v, abs=1e-6)


@pytest.mark.parametrize(("s", "expected"), [(40.0, 2.9e-2), (400.0, 6.3e-4)])
def test_width_decides_what_is_seen(s: float, expected: float) -> None:
    """D = 20, N(0, ½I) against N(0, I), s = 2D and s = D²: the published figures have two digits."""
    mean, variance = torch.zeros(1, 20, dtype=torch.float64), torch.full((1, 20), 0.5, dtype=torch.float64)
    exact = gaussian_mmd_squared(mean, variance, "rbf", (s,), "v").item()
    assert exact == pytest.approx(expected, rel=0.02)
    generator = torch.Generator().manual_seed(2)
    draws = torch.randn(50, 2, 500, 20, generator=generator, dtype=torch.float64)
    sampled = torch.stack([mmd_squared(math.sqrt(0.5) * z, w, "rbf", (s,)) for z, w in draws])
    assert abs(sampled.mean() - exact) < 4 * sampled.std() / math.sqrt(len(draws))


def posteriors(n: int, dimension: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mean = 0.7 * torch.randn(n, dimension, generator=generator, dtype=torch.float64)
    return mean, 0.2 + torch.rand(n, dimension, generator=generator, dtype=torch.float64)


@EVERY_KIND
def test_closed_form_is_the_mean_over_draws(kernel: str, statistic: str) -> None:
    """u: every z is drawn once, pairs of one posterior never meet. v: pairs within one posterior are two draws."""
    mean, variance = posteriors(30, 4)
    exact = gaussian_mmd_squared(mean, variance, kernel, WIDTHS[kernel], statistic)
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(3, 1500, 30, 4, generator=generator, dtype=torch.float64)
    z, other = (mean + variance.sqrt() * noise[i] for i in (0, 1))
    if statistic == "u":
        values = torch.stack([mmd_squared(a, w, kernel, WIDTHS[kernel], "u") for a, w in zip(z, noise[2], strict=True)])
    else:
        prior = gaussian_mmd_squared(mean[:1] * 0, variance[:1] * 0 + 1, kernel, WIDTHS[kernel], "v")
        assert prior.abs() < 1e-6  # the prior's distance to itself
        # k(z, z') with z' from a second set of draws; the prior's term from u of two sets of its own draws
        values = torch.stack([v_by_two_draws(*sets, kernel) for sets in zip(z, other, noise[2], strict=True)])
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(len(values)) + 1e-6  # 1e-6: imq's quadrature


def v_by_two_draws(z: Tensor, other: Tensor, w: Tensor, kernel: str) -> Tensor:
    def mean(a: Tensor, b: Tensor) -> Tensor:
        squared = torch.cdist(a, b).square()
        return torch.stack(
            [(-squared / s).exp() if kernel == "rbf" else s / (s + squared) for s in WIDTHS[kernel]]
        ).sum(0)

    prior = mean(w, w)
    return mean(z, other).mean() + (prior.sum() - prior.trace()) / (len(w) * (len(w) - 1)) - 2 * mean(z, w).mean()


@EVERY_KIND
def test_closed_form_is_the_integral_in_one_dimension(kernel: str, statistic: str) -> None:
    means, variances = (0.5, -1.0, 2.0), (0.3, 1.2, 0.05)

    def expected(m: float, v: float) -> float:  # E k(u) for u ~ N(m, v), by quadrature
        return quad(
            lambda t: (
                sum(KERNELS[kernel]((m + math.sqrt(v) * t) ** 2, s) for s in WIDTHS[kernel])
                * math.exp(-t * t / 2)
                / math.sqrt(2 * math.pi)
            ),
            -12,
            12,
            epsabs=1e-11,
            limit=200,
        )[0]

    pairs = [(i, j) for i in range(3) for j in range(3) if statistic == "v" or i != j]
    within = sum(expected(means[i] - means[j], variances[i] + variances[j]) for i, j in pairs) / len(pairs)
    across = sum(expected(m, v + 1) for m, v in zip(means, variances, strict=True)) / 3
    found = gaussian_mmd_squared(
        torch.tensor(means, dtype=torch.float64)[:, None],
        torch.tensor(variances, dtype=torch.float64)[:, None],
        kernel,
        WIDTHS[kernel],
        statistic,
    )
    # rbf is exact in float64; imq is itself a quadrature with a stated error of 1e-6
    assert found.item() == pytest.approx(within + expected(0, 2) - 2 * across, abs=1e-10 if kernel == "rbf" else 1e-6)


@pytest.mark.parametrize("dimension", [1, 16, 256])
def test_imq_is_a_mixture_of_rbf(dimension: int) -> None:
    """Up to a constant, within the stated 1e-6 at every distance."""
    widths = [2 * dimension * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    squared = torch.cat([torch.zeros(1), torch.logspace(-6, 12, 2000)]).double()
    exact = torch.stack([s / (s + squared) for s in widths]).sum(0)
    mixture = torch.stack([weight * (-squared / s).exp() for weight, s in _imq_as_rbf(widths)]).sum(0)
    difference = mixture - exact
    assert difference.max() - difference.min() < 1e-6


@pytest.mark.parametrize("statistic", ["u", "v"])
def test_closed_form_in_blocks_has_the_same_gradient(statistic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, variance = (values.requires_grad_() for values in posteriors(11, 3))
    whole = gaussian_mmd_squared(mean, variance, "rbf", (6.0,), statistic)
    expected = torch.autograd.grad(whole, (mean, variance))
    monkeypatch.setattr("framework_plugins.divergences.mmd._CLOSED_FORM_BLOCK", 4 * 33)  # 4 rows, 4, then 3
    blocks = gaussian_mmd_squared(mean, variance, "rbf", (6.0,), statistic)
    torch.testing.assert_close(blocks, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(blocks, (mean, variance)), expected, rtol=1e-11, atol=1e-15)
    assert torch.autograd.gradcheck(lambda m, v: gaussian_mmd_squared(m, v, "rbf", (6.0,), statistic), (mean, variance))


def test_part_draws_from_the_prior_and_scores_its_samples() -> None:
    part = MMD(latent_dim=3)
    q, p = DiagonalGaussian(torch.ones(50, 3), torch.zeros(50, 3)), StandardNormal(3, torch.zeros(()))
    z = q.rsample()
    torch.manual_seed(5)
    value = part(q, p, z)
    torch.manual_seed(5)
    widths = [6 * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    assert value.shape == ()
    assert torch.equal(value, mmd_squared(z, torch.randn(50, 3), "imq", widths, "u"))
    assert part.aggregate
    assert not part.rewardable
    assert part.estimator == "sampled u statistic, imq kernel of width 0.6, 1.2, 3, 6, 12, 30, 60"


def test_a_learned_prior_gets_a_gradient() -> None:
    mean = torch.full((3,), 2.0, requires_grad=True)
    p = Independent(Normal(mean, torch.ones(3), validate_args=False), 1, validate_args=False)
    MMD(latent_dim=3)(p, p, torch.randn(50, 3, generator=torch.Generator().manual_seed(6))).backward()
    assert mean.grad is not None
    assert (mean.grad > 0).all()  # towards the sample, which lies about the origin


@pytest.mark.parametrize("statistic", ["u", "v"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_part_in_closed_form_draws_nothing(kernel: str, statistic: str) -> None:
    mean, variance = posteriors(20, 3)
    q, p = DiagonalGaussian(mean, 0.5 * variance.log()), StandardNormal(3, torch.zeros(()))
    part = MMD(latent_dim=3, kernel=kernel, scales=(0.5, 2.0), statistic=statistic, estimate="closed_form")
    state = torch.get_rng_state()
    value = part(q, p, q.mean)
    assert torch.equal(torch.get_rng_state(), state)
    # through log σ and back
    torch.testing.assert_close(
        value, gaussian_mmd_squared(mean, variance, kernel, (3.0, 12.0), statistic), rtol=1e-9, atol=0
    )


def test_messages() -> None:
    with pytest.raises(OptionError, match=r"scales: expected one or more positive numbers, found \[1.0, 0.0\]"):
        MMD(latent_dim=3, scales=(1.0, 0.0))
    with pytest.raises(OptionError, match=r"scales: expected one or more positive numbers, found \[\]"):
        MMD(latent_dim=3, scales=())
    one = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"the u statistic expects .* at least 2 points, found \[1, 3\] and \[1, 3\]"):
        mmd_squared(one, one, "imq", (1.0,), "u")
    assert mmd_squared(one, one + 1, "imq", (3.0,), "v").item() == pytest.approx(2 - 2 * 0.5)
    with pytest.raises(ValueError, match=r"found \[4, 3\] and \[4, 2\]"):
        mmd_squared(torch.zeros(4, 3), torch.zeros(4, 2), "imq", (1.0,), "v")
    with pytest.raises(ValueError, match="the u statistic expects at least 2 examples, found 1"):
        gaussian_mmd_squared(one, one + 1, "rbf", (1.0,), "u")
    part = MMD(latent_dim=3, estimate="closed_form")
    message = (
        "mmd: estimate: closed_form expects a DiagonalGaussian posterior and the StandardNormal prior, "
        "found Delta and StandardNormal; write estimate: sampled"
    )
    with pytest.raises(ValueError, match=message):
        part(Delta(one), StandardNormal(3, one), one)
