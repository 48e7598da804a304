"""Several processes against one: the same distributions, draws, gradients and numbers.

Tolerances: 1e-12 in float64, a few dozen roundings, where sums are taken in another order; draws are equal to the bit.
Groups of processes take seconds to start, so each is started once and all its checks run in it; what needs no group
plays the parts of a batch one after another.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Beta,
    Categorical,
    ComposeTransform,
    Dirichlet,
    Distribution,
    Gamma,
    Gumbel,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    SigmoidTransform,
    TanhTransform,
    TransformedDistribution,
)

from framework.action_distributions import CategoricalLogits, MultiCategorical, SquashedGaussian
from framework.discrete import OneHotLogits
from framework.distributed import (
    any_rank,
    barrier,
    broadcast_module,
    lost_contact,
    rank,
    same_on_all_ranks,
    sum_over_ranks,
    world_size,
)
from framework.distributions import BernoulliLogits, Delta, DiagonalGaussian
from framework.errors import IncompatibleParts
from framework.gathering import gather, gather_rows
from framework.share import Share
from tests.framework.processes import on_ranks

RANKS, ROWS, D = 2, 3, 4
BATCH = RANKS * ROWS
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def eye(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


# What an encoder could return, from its outputs a and b, [B, D], and a parameter s, [D], that all examples share.
Build = Callable[[Tensor, Tensor, Tensor], Distribution]
CASES: dict[str, Build] = {
    "DiagonalGaussian": lambda a, b, s: DiagonalGaussian(a, b),
    "DiagonalGaussian, one scale": lambda a, b, s: DiagonalGaussian(a, s),
    "DiagonalGaussian, one scale as a row": lambda a, b, s: DiagonalGaussian(a, s[None]),
    "DiagonalGaussian, event of two": lambda a, b, s: DiagonalGaussian(a.view(-1, 2, 2), s.view(2, 2), 2),
    "DiagonalGaussian, event of none": lambda a, b, s: DiagonalGaussian(a, b, 0),
    "BernoulliLogits": lambda a, b, s: BernoulliLogits(a),
    "OneHotLogits": lambda a, b, s: OneHotLogits(a.unflatten(-1, (-1, 2))),
    "BernoulliLogits, event of two": lambda a, b, s: BernoulliLogits(a.view(-1, 2, 2), 2),
    "CategoricalLogits": lambda a, b, s: CategoricalLogits(a),
    "MultiCategorical": lambda a, b, s: MultiCategorical(a, [3, 1]),
    "SquashedGaussian": lambda a, b, s: SquashedGaussian(DiagonalGaussian(a, s), s.new_full((), -1), s.new_full((), 2)),
    "Delta": lambda a, b, s: Delta(a),
    "Delta, event of two": lambda a, b, s: Delta(a.view(-1, 2, 2), 2),
    "Normal": lambda a, b, s: Normal(a, b.exp()),
    "Normal, one scale": lambda a, b, s: Normal(a, s.exp()),
    "Laplace": lambda a, b, s: Laplace(a, b.exp()),
    "Independent": lambda a, b, s: Independent(Normal(a, s.exp()), 1),
    "Independent, event of two": lambda a, b, s: Independent(Laplace(a.view(-1, 2, 2), b.exp().view(-1, 2, 2)), 2),
    "Bernoulli, logits": lambda a, b, s: Bernoulli(logits=a),
    "Bernoulli, probs": lambda a, b, s: Independent(Bernoulli(probs=a.sigmoid()), 1),
    "Categorical, logits": lambda a, b, s: Categorical(logits=a),
    "Categorical, probs": lambda a, b, s: Categorical(probs=a.exp()),
    "OneHotCategorical": lambda a, b, s: OneHotCategorical(logits=a),
    "OneHotCategoricalStraightThrough": lambda a, b, s: OneHotCategoricalStraightThrough(probs=a.exp()),
    "RelaxedBernoulli": lambda a, b, s: RelaxedBernoulli(s[0].exp(), logits=a),
    "RelaxedBernoulli, a temperature each": lambda a, b, s: RelaxedBernoulli(b.exp(), probs=a.sigmoid()),
    "RelaxedBernoulli, a temperature a column": lambda a, b, s: RelaxedBernoulli(s.exp(), logits=a),
    "RelaxedOneHotCategorical": lambda a, b, s: RelaxedOneHotCategorical(s[0].exp(), logits=a),
    "Gamma": lambda a, b, s: Gamma(a.exp(), b.exp()),
    "Gamma, one rate": lambda a, b, s: Independent(Gamma(a.exp(), s.exp()), 1),
    "Beta": lambda a, b, s: Beta(a.exp(), b.exp()),
    "Dirichlet": lambda a, b, s: Dirichlet(a.exp()),
    "MultivariateNormal": lambda a, b, s: MultivariateNormal(
        a, covariance_matrix=b[:, :, None] * b[:, None] + s.exp().diag()
    ),
    "MultivariateNormal, one covariance": lambda a, b, s: MultivariateNormal(a, scale_tril=s.exp().diag()),
    "LowRankMultivariateNormal": lambda a, b, s: LowRankMultivariateNormal(a, b[..., None], s.exp()),
    "MixtureSameFamily": lambda a, b, s: MixtureSameFamily(Categorical(logits=a), Normal(b, s.exp())),
    "MixtureSameFamily, one mixture": lambda a, b, s: MixtureSameFamily(
        Categorical(logits=s), Independent(Normal(a[:, :, None] * b[:, None], b[:, None].exp()), 1)
    ),
    "TransformedDistribution": lambda a, b, s: TransformedDistribution(
        Normal(a, b.exp()), [TanhTransform(), AffineTransform(s, 2.0, event_dim=1)]
    ),
    "TransformedDistribution of an Independent": lambda a, b, s: TransformedDistribution(
        Independent(Normal(a, s.exp()), 1), SigmoidTransform()
    ),
}  # fmt: skip


def encoder_outputs(weights: Tensor, examples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The parameters [3, D] and the examples [B, D] → a, b and s."""
    return examples * weights[0], examples.sin() * weights[1], weights[2]


def density(q: Distribution, value: Tensor) -> Tensor:
    """[B] nats; of a distribution without density, something else of its parameters."""
    values = q.mean.square() if isinstance(q, Delta) else q.log_prob(value)
    return values.flatten(1).sum(1) if values.dim() > 1 else values


def losses(q: Distribution, value: Tensor) -> tuple[Tensor, Tensor]:
    """A loss of each example, [B], and one of the whole batch, []: of its density, and of a sample where one has a
    gradient."""
    each = density(q, value)
    whole = each.logsumexp(0).square()
    if q.has_rsample:
        torch.manual_seed(5)
        whole = whole + q.rsample().sin().sum().square()
    return each, whole


def drawable(q: Distribution) -> Distribution:
    """torch draws from no mixture whose weights are one row for all examples."""
    return q.expand(q.batch_shape) if isinstance(q, MixtureSameFamily) else q


def on_one_process(build: Build) -> tuple[Distribution, Tensor, Tensor, Tensor]:
    """The distribution, values in its support, the densities there and the gradient of the weights."""
    weights = numbers(3, D, seed=1).requires_grad_()
    q = build(*encoder_outputs(weights, numbers(BATCH, D)))
    torch.manual_seed(3)
    value = drawable(q).sample()
    each, whole = losses(q, value)
    (gradient,) = torch.autograd.grad(each.mean() + whole, weights)
    return q, value, each, gradient


def check_gather(build: Build) -> None:
    expected, value, expected_each, expected_gradient = on_one_process(build)
    share = Share(rank(), RANKS, gathers=True)
    weights = numbers(3, D, seed=1).requires_grad_()
    q = gather(build(*encoder_outputs(weights, share.own(numbers(BATCH, D)))))
    assert type(q) is type(expected)
    assert (q.batch_shape, q.event_shape) == (expected.batch_shape, expected.event_shape)
    assert not q._validate_args
    assert str(q.support) == str(expected.support)
    each, whole = losses(q, value)
    torch.testing.assert_close(each, expected_each, **EXACT)
    (gradient,) = torch.autograd.grad(share.own(each).mean() + whole, weights)
    torch.testing.assert_close(sum_over_ranks(gradient) / RANKS, expected_gradient, **EXACT)
    torch.manual_seed(7)
    drawn = q.sample()
    torch.manual_seed(7)
    torch.testing.assert_close(drawn, drawable(expected).sample(), **EXACT)


def check_every_gather() -> dict[str, str]:
    return {name: outcome(check_gather, build) for name, build in CASES.items()}


def outcome(check: Callable[..., None], *arguments: Any) -> str:
    """Nothing, or how a check failed; the other checks in the same group go on."""
    try:
        check(*arguments)
    except Exception:
        return traceback.format_exc()
    return ""


@pytest.fixture(scope="module")
def gathers() -> list[dict[str, str]]:
    return on_ranks(RANKS, check_every_gather)


@pytest.mark.parametrize("name", CASES)
def test_what_is_gathered_is_the_distribution_of_one_process(name: str, gathers: list[dict[str, str]]) -> None:
    assert [outcomes[name] for outcomes in gathers] == ["", ""]


def test_every_registered_type_is_tested() -> None:
    built = {type(build(*encoder_outputs(numbers(3, D), numbers(ROWS, D)))) for build in CASES.values()}
    assert set(gather.registry) - {object} == built
    assert len(built) == 23


@pytest.mark.parametrize("name", CASES)
def test_on_one_process_gather_returns_an_equal_distribution(name: str) -> None:
    q, value, each, _ = on_one_process(CASES[name])
    torch.testing.assert_close(density(gather(q), value), each, **EXACT)


class Skewed(Normal):
    """A user's own distribution."""


def test_a_type_that_nobody_gathers() -> None:
    for q in (
        Skewed(numbers(2), eye(2)[0] + 1),
        Gumbel(numbers(2), eye(2)[0] + 1),
    ):  # by base, a TransformedDistribution
        name = type(q).__name__
        with pytest.raises(IncompatibleParts) as raised:
            gather(q)
        assert str(raised.value) == (
            "encoder: expected a distribution that framework.gather knows, "
            f"found {name}, which no function gathers; "
            f"write @gather.register({name}) above a function that builds it from gather_rows of its parameters"
        )


def test_a_distribution_that_is_not_of_examples() -> None:
    with pytest.raises(IncompatibleParts) as raised:
        gather(Independent(Normal(numbers(3), 1.0), 1))
    assert str(raised.value) == (
        "encoder: expected one distribution for each example, batch shape [B], found Independent of batch shape (); "
        "write parameters whose first dimension is the examples"
    )


def test_transforms_with_parameters_for_each_example() -> None:
    base = Normal(numbers(3, 2).zero_(), 1.0)
    moved = ComposeTransform([TanhTransform(), AffineTransform(numbers(3, 2), 1.0)])
    with pytest.raises(IncompatibleParts) as raised:
        gather(TransformedDistribution(base, [moved]))
    assert str(raised.value) == (
        "encoder: expected transforms that are the same for every example, "
        "found ComposeTransform with parameters of shape [3, 2]; "
        "write the parameters of each example into the base distribution"
    )
    gather(TransformedDistribution(base, [AffineTransform(numbers(2), 1.0)]))  # one for all


# One process


def test_alone() -> None:
    rows, value = numbers(3, 2), numbers(1)[0]
    q = DiagonalGaussian(rows, rows)
    assert (world_size(), rank()) == (1, 0)
    assert gather_rows(rows, value)[0] is rows
    whole_q, whole_z, z = Share().sample(q)
    assert whole_q is q
    assert whole_z is z
    assert Share().mean(value) is value
    assert Share().own(rows).equal(rows)
    assert torch.equal(sum_over_ranks(rows), rows)
    assert not sum_over_ranks(rows.clone().requires_grad_()).requires_grad
    assert any_rank([True, False]) == [True, False]
    assert same_on_all_ranks("a recipe")
    broadcast_module(nn.Linear(2, 2))
    barrier()


# Several


def of_all(a: Tensor, b: Tensor) -> Tensor:
    return (a.sin().sum(1) * b.cos().sum((1, 2))).sum().square()


def check_rows() -> None:
    """Several tensors of several types in one call, and their gradient."""
    share = Share(rank(), RANKS, gathers=True)
    whole = [numbers(BATCH, D), numbers(BATCH, 2, 2, seed=1), numbers(BATCH, seed=2).float(), torch.arange(BATCH)]
    gathered = gather_rows(*map(share.own, whole))
    assert [one.dtype for one in gathered] == [one.dtype for one in whole]
    assert all(map(torch.equal, gathered, whole))
    assert torch.equal(gather_rows(share.own(whole[0]).t().contiguous().t())[0], whole[0])

    a, b = whole[:2]
    weights = numbers(D, seed=4).requires_grad_()
    rows = gather_rows(share.own(a) * weights, share.own(b) * weights.mean())
    (gradient,) = torch.autograd.grad(of_all(*rows), weights)
    (expected,) = torch.autograd.grad(of_all(a * weights, b * weights.mean()), weights)
    torch.testing.assert_close(sum_over_ranks(gradient) / RANKS, expected, **EXACT)


def check_second_derivative() -> None:
    """Every process sums the cubes of all rows: W · 3 r² and, of the sum of these, W · 6 r."""
    rows = Share(rank(), RANKS, gathers=True).own(numbers(BATCH, D)).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gather_rows(rows)[0].pow(3).sum(), rows, create_graph=True)
    torch.testing.assert_close(gradient, RANKS * 3 * rows.square(), **EXACT)
    (curvature,) = torch.autograd.grad(gradient.sum(), rows)
    torch.testing.assert_close(curvature, RANKS * 6 * rows, **EXACT)


def check_sample(build: Build) -> None:
    share = Share(rank(), RANKS, gathers=True)
    outputs = encoder_outputs(numbers(3, D, seed=1), numbers(BATCH, D))
    torch.manual_seed(9)
    expected = build(*outputs).rsample()
    torch.manual_seed(9)
    q, whole_z, z = share.sample(build(share.own(outputs[0]), share.own(outputs[1]), outputs[2]))
    assert q.batch_shape[0] == BATCH
    torch.testing.assert_close(whole_z, expected, **EXACT)
    assert torch.equal(z, share.own(whole_z))


def check_mean() -> None:
    share = Share(rank(), RANKS, gathers=True)
    weights = numbers(D).requires_grad_()
    value = (share.own(numbers(BATCH, D)) @ weights).exp().mean()
    mean = share.mean(value)
    expected = (numbers(BATCH, D) @ weights).exp().mean()
    torch.testing.assert_close(mean, expected, **EXACT)
    assert same_on_all_ranks(mean.item().hex()), "processes must not differ by a rounding"
    (gradient,) = torch.autograd.grad(mean.square(), weights)
    (wanted,) = torch.autograd.grad(expected.square(), weights)
    torch.testing.assert_close(sum_over_ranks(gradient) / RANKS, wanted, **EXACT)
    assert Share(rank(), RANKS).mean(value) is value


def check_words() -> None:
    here = rank()
    assert world_size() == RANKS
    assert any_rank([here == 0, here == 1, False, True]) == [True, True, False, True]
    assert any_rank([]) == []
    assert same_on_all_ranks("β-VAE")
    assert not same_on_all_ranks(f"seed {here}")
    column = torch.arange(6.0).view(2, 3).t()[:, :1].requires_grad_()  # not contiguous
    total = sum_over_ranks(column * (here + 1))
    assert torch.equal(total, 3 * column)
    assert not total.requires_grad
    barrier()


def check_broadcast() -> None:
    def module(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm1d(2)).to(memory_format=torch.channels_last)
        made.register_buffer("mask", torch.rand(4) > 0.5)
        made.register_buffer("columns", torch.rand(3, 2).t())
        made.register_buffer("steps", torch.tensor(seed))
        return made

    here = module(rank())
    places = [parameter.data_ptr() for parameter in here.parameters()]
    broadcast_module(here)
    for name, value in module(0).state_dict().items():
        assert torch.equal(here.state_dict()[name], value), name
    assert [parameter.data_ptr() for parameter in here.parameters()] == places
    assert all(parameter.requires_grad and parameter.grad is None for parameter in here.parameters())


CHECKS: dict[str, Callable[[], None]] = {
    "rows": check_rows,
    "second derivative": check_second_derivative,
    "sample of a Gaussian": lambda: check_sample(CASES["DiagonalGaussian, one scale"]),
    "sample of a Gamma": lambda: check_sample(CASES["Gamma, one rate"]),
    "mean": check_mean,
    "words": check_words,
    "broadcast": check_broadcast,
}


def run_checks() -> dict[str, str]:
    return {name: outcome(check) for name, check in CHECKS.items()}


@pytest.fixture(scope="module")
def checks() -> list[dict[str, str]]:
    return on_ranks(RANKS, run_checks)


@pytest.mark.parametrize("name", CHECKS)
def test_several_processes_agree_with_one(name: str, checks: list[dict[str, str]]) -> None:
    assert [outcomes[name] for outcomes in checks] == ["", ""]


# One that dies


def survive(collective: str) -> tuple[bool, str]:
    """What the living process sees of a peer's death."""
    rows = torch.ones(2, 3, requires_grad=True)
    model = nn.parallel.DistributedDataParallel(nn.Linear(3, 3))
    loss = model(rows).sum()
    (whole,) = gather_rows(rows)
    barrier()
    if rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    act: dict[str, Callable[[], Any]] = {
        "all_reduce": lambda: sum_over_ranks(rows),
        "all_gather": lambda: gather_rows(rows),
        "reduce_scatter": lambda: whole.sum().backward(),
        "broadcast": lambda: broadcast_module(model),
        "averaging of gradients": loss.backward,
    }
    try:
        for _ in range(3):  # the first may end before the connection does
            act[collective]()
    except Exception as error:
        return lost_contact(error), f"{type(error).__name__}: {error}"
    return False, "nothing was raised"


@pytest.mark.parametrize(
    "collective", ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "averaging of gradients"]
)
def test_the_death_of_a_peer_is_recognised(collective: str) -> None:
    (lost, report), _ = on_ranks(2, survive, collective, killed=[1])
    assert lost, report


def test_other_errors_are_not_lost_contact() -> None:
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:{}] {}"
    peer = "Connection closed by peer [127.0.0.1]:37002."
    assert lost_contact(RuntimeError(gloo.format(553, peer)))
    assert lost_contact(RuntimeError(gloo.format(81, "Timed out waiting 1800000ms for recv operation to complete")))
    assert lost_contact(torch.distributed.DistNetworkError("failed to recv, got 0 bytes"))
    assert lost_contact(torch.distributed.DistStoreError("wait timeout after 300000ms"))
    assert lost_contact(torch.distributed.DistBackendError("NCCL error: ncclRemoteError: a remote process exited"))
    assert not lost_contact(torch.distributed.DistBackendError("ncclInvalidUsage: Duplicate GPU detected"))
    assert not lost_contact(RuntimeError(gloo.format(456, "op.preamble.length <= op.nbytes. 20 vs 16")))
    assert not lost_contact(RuntimeError(peer))
    assert not lost_contact(ConnectionResetError("Connection reset by peer"))  # a tracker's


def fail(text: str) -> None:
    if rank() == 1:
        raise KeyError(text)
    barrier()


def test_an_exception_on_a_rank_is_raised_with_its_traceback() -> None:
    with pytest.raises(AssertionError, match=r"(?s)rank 1:\nTraceback.*in fail.*KeyError: 'reason'"):
        on_ranks(2, fail, "reason")
