"""Distributions over actions, against torch's and scipy's, enumeration and Monte Carlo.

Tolerances: float64 results agree to 1e-12 relative, a few dozen roundings; float32 to 1e-5. Frequencies and estimates
are within four standard errors of what they estimate, at a fixed seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import (
    AffineTransform,
    Categorical,
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.distributions.kl import kl_divergence

from framework.action_distributions import CategoricalLogits, MultiCategorical, SquashedGaussian, allowing
from framework.distributions import BernoulliLogits, DiagonalGaussian, closed_form_kl
from framework.errors import IncompatibleParts

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SINGLE = {"rtol": 1e-5, "atol": 1e-5}
TOLERANCE = {torch.float64: EXACT, torch.float32: SINGLE}
SIZES = [3, 1, 4]

each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
# Many short rows go another way than few, and than long ones.
each_shape = pytest.mark.parametrize("shape", [(3,), (5, 4), (2, 3, 4), (300, 10), (20, 30, 5), (100, 20)], ids=str)


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def some(*shape: int, seed: int = 0) -> Tensor:
    """A mask that allows at least the first action."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[..., 0] = True
    return mask


def by_logits(logits: Tensor) -> CategoricalLogits:
    return CategoricalLogits(logits)


def by_probs(logits: Tensor) -> CategoricalLogits:
    return CategoricalLogits(probs=logits.softmax(-1))


each_form = pytest.mark.parametrize("form", [by_logits, by_probs])
Form = Callable[[Tensor], CategoricalLogits]


@each_dtype
@each_shape
@each_form
def test_a_categorical_is_torchs(form: Form, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits = 2 * numbers(*shape, dtype=dtype)
    ours, theirs = form(logits), Categorical(logits=logits)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.testing.assert_close(ours.logits, theirs.logits, **TOLERANCE[dtype])
    torch.testing.assert_close(ours.probs, theirs.probs, **TOLERANCE[dtype])
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), **TOLERANCE[dtype])
    assert torch.equal(ours.mode, theirs.mode)
    for samples in [(), (7,), (2, 3)]:
        value = theirs.sample(torch.Size(samples))
        found = ours.log_prob(value)
        torch.testing.assert_close(found, theirs.log_prob(value), **TOLERANCE[dtype])
        drawn = ours.sample(samples)
        assert (drawn.shape, drawn.dtype) == (value.shape, torch.int64)
        assert bool(ours.support.check(drawn).all())


def test_a_categorical_of_both_or_of_neither() -> None:
    for given in ({}, {"logits": torch.zeros(2), "probs": torch.ones(2) / 2}):
        with pytest.raises(TypeError, match=r"^a categorical distribution is given by its logits or by its probs$"):
            CategoricalLogits(**given)


@each_form
def test_samples_come_as_often_as_they_are_likely(form: Form) -> None:
    torch.manual_seed(0)
    count, logits = 40_000, 1.5 * numbers(3, 5)
    logits[:, 2] = -math.inf
    q = form(logits)
    frequency = torch.nn.functional.one_hot(q.sample((count,)), 5).double().mean(0)
    error = (q.probs * (1 - q.probs) / count).sqrt()
    assert bool(((frequency - q.probs).abs() <= 4 * error).all())
    assert bool((frequency[:, 2] == 0).all())


@each_dtype
@pytest.mark.parametrize("number", ["least", "largest"])
def test_the_ends_of_the_unit_interval_are_no_impossible_actions(
    number: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.rand's least number is 0, its largest 1 − ulp/2.
    uniform = 0.0 if number == "least" else 1 - torch.finfo(dtype).eps / 2
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.full(shape, uniform, **options))
    logits = numbers(500, 9, dtype=dtype)
    logits[:, 0] = logits[:, -1] = -math.inf
    for q in (by_logits(logits), by_probs(logits)):
        assert set(q.sample().tolist()) == {1 if number == "least" else 7}


def test_draws_do_not_depend_on_how_the_logits_lie_in_memory() -> None:
    logits = numbers(300, 10)
    drawn = []
    for one in (logits, logits.t().contiguous().t()):
        torch.manual_seed(0)
        drawn.append(CategoricalLogits(one).sample())
    assert torch.equal(*drawn)


@pytest.mark.parametrize("shape", [(2, 3), (205, 5)], ids=str)
def test_gradients_of_a_categorical(shape: tuple[int, ...]) -> None:
    logits = numbers(*shape).requires_grad_()
    theirs = Categorical(logits=logits)
    value = theirs.sample()
    for ours in (by_logits(logits), by_probs(logits)):
        for one, other in (
            (ours.log_prob(value), theirs.log_prob(value)),
            (ours.entropy(), theirs.entropy()),
        ):
            weights = numbers(*shape[:-1], seed=1)
            found = torch.autograd.grad((weights * one).sum(), logits, retain_graph=True)
            expected = torch.autograd.grad((weights * other).sum(), logits, retain_graph=True)
            torch.testing.assert_close(found, expected, **EXACT)


def test_a_gradient_is_there_whoever_asks_first() -> None:
    for form in (by_logits, by_probs):
        logits = numbers(3, 4).requires_grad_()
        q = form(logits)
        with torch.no_grad():
            value = q.sample()
            assert q.log_prob(value).isfinite().all()
        assert q.log_prob(value).requires_grad
        assert q.entropy().requires_grad


@each_form
def test_actions_that_cannot_be_leave_everything_finite(form: Form) -> None:
    mask = some(6, 5)

    def entropy(logits: Tensor) -> Tensor:
        return form(logits.masked_fill(~mask, -math.inf)).entropy()

    def divergence(logits: Tensor, others: Tensor) -> Tensor:
        q, p = (form(each.masked_fill(~mask, -math.inf)) for each in (logits, others))
        return kl_divergence(q, p)

    logits, others = numbers(6, 5).requires_grad_(), numbers(6, 5, seed=1).requires_grad_()
    # the same over the allowed actions alone
    rows = [Categorical(logits=row[allowed]) for row, allowed in zip(logits, mask, strict=True)]
    rows_of_others = [Categorical(logits=row[allowed]) for row, allowed in zip(others, mask, strict=True)]
    torch.testing.assert_close(entropy(logits), torch.stack([row.entropy() for row in rows]), **EXACT)
    expected = torch.stack([kl_divergence(*pair) for pair in zip(rows, rows_of_others, strict=True)])
    torch.testing.assert_close(divergence(logits, others), expected, **EXACT)
    assert gradcheck(entropy, logits)
    assert gradcheck(divergence, (logits, others))


@each_form
def test_one_possible_action_is_certain(form: Form) -> None:
    logits = torch.tensor([[-math.inf, 3.0, -math.inf]]).requires_grad_()
    q = form(logits)
    assert (q.entropy().item(), kl_divergence(q, q).item(), q.sample().item(), q.mode.item()) == (0, 0, 1, 1)
    (q.entropy() + kl_divergence(q, q)).sum().backward()
    assert bool(logits.grad.isfinite().all())


def test_the_divergence_from_what_cannot_be_is_infinite() -> None:
    q, p = CategoricalLogits(torch.zeros(2)), CategoricalLogits(torch.tensor([0.0, -math.inf]))
    assert kl_divergence(q, p) == math.inf
    assert kl_divergence(p, q) == pytest.approx(math.log(2))


@each_dtype
def test_the_divergence_of_categoricals_is_torchs(dtype: torch.dtype) -> None:
    logits, others = 3 * numbers(2, 6, 4, dtype=dtype)
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=others))
    for first, second in itertools.product((by_logits, by_probs), repeat=2):
        torch.testing.assert_close(kl_divergence(first(logits), second(others)), expected, **TOLERANCE[dtype])
    assert bool((kl_divergence(by_logits(logits), by_logits(logits)) == 0).all())


# ---- several choices


def choices(logits: Tensor, sizes: list[int]) -> list[Categorical]:
    return [Categorical(logits=part) for part in logits.split(sizes, -1)]


@each_dtype
@pytest.mark.parametrize("sizes", [SIZES, [3, 3], [4]], ids=str)
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)], ids=str)
def test_several_choices_are_torchs_one_by_one(batch: tuple[int, ...], sizes: list[int], dtype: torch.dtype) -> None:
    logits = numbers(*batch, sum(sizes), dtype=dtype)
    ours, theirs = MultiCategorical(logits, sizes), choices(logits, sizes)
    assert (ours.batch_shape, ours.event_shape) == (batch, (len(sizes),))
    value = torch.stack([one.sample((7,)) for one in theirs], -1)
    expected = sum(one.log_prob(part) for one, part in zip(theirs, value.unbind(-1), strict=True))
    torch.testing.assert_close(ours.log_prob(value), expected, **TOLERANCE[dtype])
    torch.testing.assert_close(ours.entropy(), sum(one.entropy() for one in theirs), **TOLERANCE[dtype])
    assert torch.equal(ours.mode, torch.stack([one.mode for one in theirs], -1))
    drawn = ours.sample((7,))
    assert (drawn.shape, drawn.dtype) == (value.shape, torch.int64)
    assert bool(ours.support.check(drawn).all())
    assert not ours.support.check(drawn + torch.tensor(sizes)).any()
    other = numbers(*batch, sum(sizes), dtype=dtype, seed=1)
    divergences = [kl_divergence(*pair) for pair in zip(theirs, choices(other, sizes), strict=True)]
    torch.testing.assert_close(
        kl_divergence(ours, MultiCategorical(other, sizes)), sum(divergences), **TOLERANCE[dtype]
    )


def test_the_probabilities_of_all_combinations_add_up_to_one() -> None:
    q = MultiCategorical(numbers(sum(SIZES)), SIZES)
    every = torch.tensor(list(itertools.product(*map(range, SIZES))))
    probability = q.log_prob(every).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    assert -(probability * probability.log()).sum().item() == pytest.approx(q.entropy().item(), abs=1e-12)
    torch.manual_seed(0)
    count = 40_000
    code = torch.tensor([SIZES[1] * SIZES[2], SIZES[2], 1])
    frequency = torch.bincount((q.sample((count,)) * code).sum(-1), minlength=len(every)) / count
    assert bool(((frequency - probability).abs() <= 4 * (probability * (1 - probability) / count).sqrt()).all())


def test_gradients_of_several_choices() -> None:
    logits, value = numbers(2, sum(SIZES)).requires_grad_(), torch.tensor([[2, 0, 3], [0, 0, 1]])
    assert gradcheck(lambda each: MultiCategorical(each, SIZES).log_prob(value), logits)
    assert gradcheck(lambda each: MultiCategorical(each, SIZES).entropy(), logits)


# ---- a Gaussian in a box


def squashed(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[SquashedGaussian, TransformedDistribution]:
    mean, log_scale = numbers(2, 5, 3, dtype=dtype, seed=seed)
    low, high = torch.tensor([-1.0, 0.0, -3.0], dtype=dtype), torch.tensor([1.0, 5.0, -2.0], dtype=dtype)
    base = Independent(Normal(mean, log_scale.exp()), 1)
    transforms = [TanhTransform(), AffineTransform((low + high) / 2, (high - low) / 2, event_dim=1)]
    theirs = TransformedDistribution(base, transforms)
    return SquashedGaussian(DiagonalGaussian(mean, log_scale), low, high), theirs


def test_a_squashed_gaussian_is_torchs() -> None:
    ours, theirs = squashed()
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    for samples in ((), (7,)):
        torch.manual_seed(1)
        value = ours.rsample(samples)
        torch.manual_seed(1)
        torch.testing.assert_close(value, theirs.rsample(torch.Size(samples)), **EXACT)
        # torch remembers what it has drawn, and has to be given a copy to invert; 1e-9 for atanh near its ends
        torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value.clone()), rtol=1e-9, atol=1e-9)
        assert bool(ours.support.check(value).all())


def test_the_density_of_a_squashed_gaussian_is_of_mass_one() -> None:
    for mean, log_scale in ((0.0, 0.0), (1.0, -1.0), (-0.5, 0.5)):
        base = DiagonalGaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([log_scale]).double())
        q = SquashedGaussian(base, torch.tensor([-2.0]).double(), torch.tensor([3.0]).double())
        density = lambda a, q=q: q.log_prob(torch.tensor([a], dtype=torch.float64)).exp().item()  # noqa: E731
        mass, _ = scipy.integrate.quad(density, -2, 3, limit=400)
        assert mass == pytest.approx(1, abs=1e-6)  # what lies within an ulp of the edges, and quad's own error


def test_a_squashed_gaussian_of_no_dimension() -> None:
    base = DiagonalGaussian(numbers(4), numbers(4, seed=1), 0)
    one = SquashedGaussian(base, torch.tensor(-1.0).double(), torch.tensor(1.0).double())
    value = one.sample()
    u = value.atanh()
    expected = scipy.stats.norm(base.mean, base.stddev).logpdf(u) - (1 - value**2).log().numpy()
    torch.testing.assert_close(one.log_prob(value), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


@each_dtype
@pytest.mark.parametrize("mean", [-1e4, -30.0, 9.0, 30.0, 1e4])
def test_a_squashed_gaussian_is_finite_where_tanh_is_one(mean: float, dtype: torch.dtype) -> None:
    parameters = torch.full((4, 2), mean, dtype=dtype, requires_grad=True)
    low, high = torch.tensor([-0.3, 100.1], dtype=dtype), torch.tensor([0.1, 100.7], dtype=dtype)
    q = SquashedGaussian(DiagonalGaussian(parameters, parameters.new_zeros(2)), low, high)
    torch.manual_seed(0)
    for value in (q.sample(), q.rsample(), q.mode, low.expand(4, 2), high.expand(4, 2)):
        assert bool(((value >= low) & (value <= high)).all())
        density = q.log_prob(value)
        assert bool(density.isfinite().all())
        (gradient,) = torch.autograd.grad(density.sum() + value.sum(), parameters, retain_graph=True)
        assert bool(gradient.isfinite().all())


def test_float32_densities_are_those_of_float64() -> None:
    q, exact = squashed(torch.float32)[0], squashed()[0]
    torch.manual_seed(0)
    value = q.sample((100,))
    share = (value - q.low) / (q.high - q.low)
    inside = ((share > 1e-3) & (share < 1 - 1e-3)).all(-1)
    assert inside.float().mean() > 0.5
    # An action's rounding, 2e-7 of the box, is at most 1e-4 in u there, and the density's slope in u some dozens.
    expected = exact.log_prob(value.double())[inside]
    torch.testing.assert_close(q.log_prob(value)[inside].double(), expected, atol=1e-2, rtol=0)


def test_gradients_of_a_squashed_gaussian() -> None:
    mean, log_scale = (part.requires_grad_() for part in numbers(2, 4, 3).unbind())
    low, high = torch.tensor([-1.0, 0.0, -3.0]).double(), torch.tensor([1.0, 5.0, -2.0]).double()
    value = squashed()[0].sample()[:4]

    def density(mean: Tensor, log_scale: Tensor, value: Tensor) -> Tensor:
        return SquashedGaussian(DiagonalGaussian(mean, log_scale), low, high).log_prob(value)

    def draw(mean: Tensor, log_scale: Tensor) -> Tensor:
        torch.manual_seed(0)
        return SquashedGaussian(DiagonalGaussian(mean, log_scale), low, high).rsample()

    assert gradcheck(density, (mean, log_scale, value.requires_grad_()))
    assert gradcheck(draw, (mean, log_scale))


def test_the_mode_of_a_squashed_gaussian_is_its_means() -> None:
    q, theirs = squashed()
    expected = theirs.base_dist.mean
    for transform in theirs.transforms:
        expected = transform(expected)
    torch.testing.assert_close(q.mode, expected, **EXACT)


def test_a_squashed_gaussian_has_no_closed_form_of_the_entropy() -> None:
    with pytest.raises(NotImplementedError):
        squashed()[0].entropy()


def test_the_divergence_of_squashed_gaussians_is_that_of_their_bases() -> None:
    (q, _), (p, _) = squashed(seed=0), squashed(seed=1)
    exact = kl_divergence(q, p)
    torch.testing.assert_close(exact, kl_divergence(q.base, p.base), **EXACT)
    torch.manual_seed(0)
    narrow = SquashedGaussian(DiagonalGaussian(q.base.mean, q.base.log_scale - 1), q.low, q.high)
    value = narrow.sample((40_000,))
    estimate = narrow.log_prob(value) - p.log_prob(value)
    error = estimate.std(0) / math.sqrt(len(estimate))
    assert bool(((estimate.mean(0) - kl_divergence(narrow, p)).abs() <= 4 * error).all())


def test_squashed_gaussians_in_other_boxes_have_no_closed_form() -> None:
    q, _ = squashed()
    assert closed_form_kl(q, SquashedGaussian(q.base, q.low - 1, q.high)) is None
    assert closed_form_kl(q, SquashedGaussian(q.base, q.low, q.high + 1)) is None


# ---- what is allowed


def test_an_allowed_action_is_as_likely_as_among_the_allowed_ones() -> None:
    logits, mask = numbers(6, 5), some(6, 5)
    for form in (by_logits, by_probs):
        found = allowing(form(logits), mask)
        expected = logits.softmax(-1) * mask
        torch.testing.assert_close(found.probs, expected / expected.sum(-1, keepdim=True), **EXACT)
        assert type(found) is CategoricalLogits


def test_each_choice_has_its_own_allowed_actions() -> None:
    logits, mask = numbers(6, sum(SIZES)), some(6, sum(SIZES))
    mask[:, 3:5] = True  # the choice of one action, and the first of the last choice
    found = allowing(MultiCategorical(logits, SIZES), mask)
    parts = zip(logits.split(SIZES, -1), mask.split(SIZES, -1), strict=True)
    expected = [allowing(CategoricalLogits(part), allowed) for part, allowed in parts]
    value = torch.stack([one.sample() for one in expected], -1)
    each = [one.log_prob(part) for one, part in zip(expected, value.unbind(-1), strict=True)]
    torch.testing.assert_close(found.log_prob(value), torch.stack(each).sum(0), **EXACT)


def test_where_no_action_is_allowed_all_are() -> None:
    logits = numbers(2, 4)
    mask = torch.tensor([[True, False, True, False], [False] * 4])
    found = allowing(CategoricalLogits(logits), mask)
    torch.testing.assert_close(found.probs[1], logits[1].softmax(-1), **EXACT)
    assert found.probs[0].gt(0).tolist() == mask[0].tolist()
    several = allowing(MultiCategorical(logits, [2, 2]), torch.tensor([False, False, True, False]).expand(2, 4))
    torch.testing.assert_close(several.choices.probs[:, 0], logits[:, :2].softmax(-1), **EXACT)
    assert several.choices.probs[:, 1].tolist() == [[1, 0], [1, 0]]


def test_allowed_actions_that_could_not_be_are_equally_likely() -> None:
    greedy = CategoricalLogits(probs=torch.tensor([0.0, 1.0, 0.0, 0.0]))
    assert allowing(greedy, torch.tensor([True, False, True, False])).probs.tolist() == [0.5, 0, 0.5, 0]
    assert allowing(greedy, torch.tensor([True, True, False, False])).probs.tolist() == [0, 1, 0, 0]


def test_gradients_of_what_is_allowed() -> None:
    mask = some(4, 5)
    value = allowing(CategoricalLogits(numbers(4, 5)), mask).sample()
    logits = numbers(4, 5).requires_grad_()
    assert gradcheck(lambda each: allowing(CategoricalLogits(each), mask).log_prob(value), logits)
    assert gradcheck(lambda each: allowing(CategoricalLogits(each), mask).entropy(), logits)


def test_nothing_can_be_ruled_out_of_a_gaussian() -> None:
    others: list[Distribution] = [BernoulliLogits(torch.zeros(2, 3)), DiagonalGaussian(torch.zeros(2), torch.zeros(2))]
    for one in others:
        with pytest.raises(IncompatibleParts) as raised:
            allowing(one, torch.ones(2, 3, dtype=torch.bool))
        name = type(one).__name__
        assert str(raised.value) == (
            "policy: expected a distribution over discrete actions, as the environment says which ones are allowed, "
            f"found {name}, of which framework.allowing can rule out none; "
            f"write @allowing.register({name}) above a function that gives the others probability zero"
        )


def test_the_mode_of_switches() -> None:
    logits = torch.tensor([[-1.0, 2.0, 0.5]])
    assert torch.equal(BernoulliLogits(logits).mode, torch.tensor([[0.0, 1.0, 1.0]]))


def test_draws_do_not_depend_on_how_probabilities_lie_in_memory() -> None:
    probs = torch.rand(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probs[::3, 6] = probs[::2, 0] = 0.0  # never drawn
    drawn = []
    for one in (probs, probs.T.contiguous().T):
        torch.manual_seed(1)
        drawn.append(CategoricalLogits(probs=one).sample())
    assert torch.equal(*drawn)
    assert (probs.gather(1, drawn[0][:, None]) > 0).all()
