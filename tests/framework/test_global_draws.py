"""The parts' random numbers are those of one process, to the bit; the parts of a batch are played one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta, Categorical, Gamma, Laplace, Normal

from framework.distributions import DiagonalGaussian
from framework.global_draws import GlobalDraws
from framework.share import Share

# Random numbers


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def part(position: int, count: int, rows: int, draw: Callable[[int, int], Any]) -> Any:
    torch.manual_seed(11)
    with GlobalDraws(position, count, rows):
        return draw(rows, position * rows)


x = numbers(64, 3, seed=2)
unit = x.sigmoid()
images = numbers(64, 3, 4, 4).float().contiguous(memory_format=torch.channels_last)

# Each draws for the examples [start, start + n).
DRAWS: dict[str, Callable[[int, int], Tensor]] = {
    "rand": lambda n, start: torch.rand(n, 3),
    "rand, one dimension": lambda n, start: torch.rand(n, dtype=torch.float64),
    "rand, three": lambda n, start: torch.rand(n, 2, 3),
    "rand, own generator": lambda n, start: torch.rand(n, 3, generator=torch.Generator().manual_seed(5)),
    "randn": lambda n, start: torch.randn(n, 3),
    "randn into": lambda n, start: torch.randn(n, 3, out=torch.empty(n, 3)),
    "randint": lambda n, start: torch.randint(7, (n, 3)),
    "randint from": lambda n, start: torch.randint(2, 7, (n,)),
    "rand_like": lambda n, start: torch.rand_like(x[start : start + n]),
    "randn_like": lambda n, start: torch.randn_like(x[start : start + n]),
    "randn_like, channels last": lambda n, start: torch.randn_like(images[start : start + n]),
    "randn_like, expanded": lambda n, start: torch.randn_like(x[:1].expand(n, 3)),
    "randint_like": lambda n, start: torch.randint_like(x[start : start + n], 9),
    "randint_like from": lambda n, start: torch.randint_like(x[start : start + n], 2, 9),
    "bernoulli": lambda n, start: torch.bernoulli(unit[start : start + n]),
    "bernoulli, expanded": lambda n, start: torch.bernoulli(unit[start : start + n, :1].expand(n, 3)),
    "bernoulli of p": lambda n, start: torch.bernoulli(x[start : start + n], 0.3),
    "normal": lambda n, start: torch.normal(x[start : start + n], unit[start : start + n]),
    "normal, one mean a column": lambda n, start: torch.normal(x[0], unit[start : start + n]),
    "normal, one mean": lambda n, start: torch.normal(0.0, unit[start : start + n]),
    "normal, one scale": lambda n, start: torch.normal(x[start : start + n], 2.0),
    "normal, by size": lambda n, start: torch.normal(0.0, 1.0, (n, 3)),
    "bernoulli_": lambda n, start: torch.empty(n, 3).bernoulli_(0.3),
    "bernoulli_ of probabilities": lambda n, start: torch.empty(n, 3).bernoulli_(unit[start : start + n]),
    "bernoulli_ of one row of probabilities": lambda n, start: torch.empty(n, 3).bernoulli_(unit[0]),
    "normal_": lambda n, start: torch.empty(n, 3).normal_(1.0, 2.0),
    "normal_, transposed": lambda n, start: torch.empty(3, n).t().normal_(),
    "normal_, some columns": lambda n, start: torch.empty(n, 5)[:, 1:4].normal_(),
    "uniform_": lambda n, start: torch.empty(n, 3).uniform_(-1, 2),
    "exponential_": lambda n, start: torch.empty(n, 3).exponential_(),
    "cauchy_": lambda n, start: torch.empty(n, 3).cauchy_(),
    "log_normal_": lambda n, start: torch.empty(n, 3).log_normal_(),
    "geometric_": lambda n, start: torch.empty(n, 3).geometric_(0.3),
    "random_": lambda n, start: torch.empty(n, 3, dtype=torch.int64).random_(),
    "random_ to": lambda n, start: torch.empty(n, 3).random_(5),
    "random_ from": lambda n, start: torch.empty(n, 3).random_(1, 5),
    "native_dropout": lambda n, start: torch.stack(torch.native_dropout(x[start : start + n], 0.3, True), 1),
    "nn.Dropout": lambda n, start: nn.Dropout(0.3)(x[start : start + n]),
    "nn.Dropout, images": lambda n, start: nn.Dropout(0.3)(images[start : start + n]),
    "nn.Dropout2d": lambda n, start: nn.Dropout2d(0.3)(images[start : start + n]),
    "nn.AlphaDropout": lambda n, start: nn.AlphaDropout(0.3)(x[start : start + n]),
    "two in a row": lambda n, start: torch.cat([torch.rand(n, 1), torch.randn(n, 2)], 1),
    "for examples and for none": lambda n, start: torch.rand(n, 7) + torch.rand(7) + torch.rand(5, 1)[:1],
    "attention": lambda n, start: F.scaled_dot_product_attention(*3 * [images[start : start + n]], dropout_p=0.3),
    "gumbel_softmax": lambda n, start: F.gumbel_softmax(x[start : start + n]),
    "DiagonalGaussian": lambda n, start: DiagonalGaussian(x[start : start + n], x[0]).rsample(),
    "Normal": lambda n, start: Normal(x[start : start + n], unit[start : start + n]).rsample(),
    "Laplace": lambda n, start: Laplace(x[start : start + n], unit[start : start + n]).rsample(),
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("rows", [1, 2, 13])  # 2·1·3 numbers are filled one by one, from 16 on in vectors
@pytest.mark.parametrize("name", DRAWS)
def test_the_parts_of_a_draw_are_the_draw_of_one_process(name: str, rows: int, count: int) -> None:
    torch.manual_seed(11)
    whole = DRAWS[name](count * rows, 0)
    after = torch.get_rng_state()
    parts = []
    for position in range(count):
        parts.append(part(position, count, rows, DRAWS[name]))
        assert torch.equal(torch.get_rng_state(), after), "the next draw would differ"
    assert torch.equal(torch.cat(parts), whole)
    torch.manual_seed(11)
    without = DRAWS[name](rows, (count - 1) * rows)
    assert rows * count < 16 or not torch.equal(parts[-1], without), "the context does nothing"


def test_the_gradient_of_a_dropout_is_that_of_its_mask() -> None:
    for inference in (False, True):  # where dropout arrives in one piece
        with torch.inference_mode(inference):
            ones = part(1, 2, 6, lambda n, start: F.dropout(torch.ones(n, 3), 0.5))
    mask = torch.ones(6, 3, requires_grad=True)
    part(1, 2, 6, lambda n, start: F.dropout(mask, 0.5)).sum().backward()
    assert mask.grad is not None
    assert torch.equal(ones, mask.grad)
    torch.manual_seed(11)
    assert torch.equal(ones, F.dropout(torch.ones(12, 3), 0.5)[6:])


def test_what_is_not_of_the_examples_is_drawn_as_it_is() -> None:
    parameter = nn.Parameter(torch.zeros(6, 3))
    draws: list[Callable[[], Tensor]] = [
        lambda: torch.rand(5, 3),
        lambda: torch.rand(12, 3),
        lambda: torch.rand(()),
        lambda: torch.randn_like(parameter),
        lambda: nn.init.normal_(parameter).detach().clone(),
        lambda: torch.bernoulli(nn.Parameter(torch.full((6, 3), 0.5))),
        lambda: torch._standard_gamma(nn.Parameter(torch.ones(6, 3))).detach(),
        lambda: torch._standard_gamma(torch.ones(12, 3)),
        lambda: F.dropout(torch.ones(5, 7), 0.5),
        lambda: torch.randperm(12),
    ]
    for draw in draws:
        torch.manual_seed(2)
        expected = draw()
        torch.manual_seed(2)
        with GlobalDraws(1, 2, 6):
            assert torch.equal(draw(), expected)


ones = torch.ones(6, 3)
REFUSED: dict[str, Callable[[], Any]] = {
    "_standard_gamma": lambda: Gamma(ones, ones).rsample(),
    "_sample_dirichlet": lambda: Beta(ones, ones).rsample(),
    "poisson": lambda: torch.poisson(ones),
    "binomial": lambda: torch.binomial(ones, ones / 2),
    "multinomial": lambda: Categorical(ones).sample(),
    "randperm": lambda: torch.randperm(6),
    "rrelu_with_noise": lambda: F.rrelu(-ones, training=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_cannot_be_told_apart_by_row(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^aten\.{name}\.") as raised, GlobalDraws(0, 2, 6):
        REFUSED[name]()
    assert str(raised.value).split(": ", 1)[1] == (
        "expected a draw of one value an element, found one over 6 of a batch's 12 examples that cannot be told apart "
        "by row; draw them from the gathered posterior, or train on one process without microbatch"
    )


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True), [12, 5, 5]),
        (nn.LSTM(4, 3, num_layers=2, dropout=0.1, batch_first=True), [5, 6, 3]),
    ],
    ids=["heads", "time"],
)
def test_dropout_over_examples_that_are_not_first(module: nn.Module, shape: list[int]) -> None:
    inputs = 3 * [torch.ones(6, 5, 4)] if isinstance(module, nn.MultiheadAttention) else [torch.ones(6, 5, 4)]
    with pytest.raises(ValueError, match="dropout") as raised, GlobalDraws(0, 3, 6):
        module(*inputs)
    assert str(raised.value) == (
        f"aten.bernoulli_.float: expected dropout over [6, ...], found {shape} for 6 of a batch's 18 examples, which "
        "may be elsewhere than in the first dimension (heads of attention, a recurrent network's time); give "
        "attention need_weights=False, move the examples first, or train on one process without microbatch"
    )


def test_attention_without_dropout_draws_nothing_and_passes() -> None:
    examples = numbers(6, 5, 4)
    attention = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)
    plain, _ = attention(examples, examples, examples, need_weights=False)
    with GlobalDraws(1, 2, 6):
        assert torch.equal(attention(examples, examples, examples, need_weights=False)[0], plain)


def test_a_whole_batch_draws_as_it_is() -> None:
    with pytest.raises(AssertionError, match="a whole batch draws as it is"):
        GlobalDraws(0, 1, 6)
    torch.manual_seed(0)
    with Share().draws():
        drawn = torch.rand(6)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(6))


def test_a_microbatch_draws_its_part() -> None:
    torch.manual_seed(0)
    whole = torch.rand(6)
    for position in range(3):
        torch.manual_seed(0)
        with Share(position, 3, rows=2).draws():
            assert torch.equal(torch.rand(2), Share(position, 3).own(whole))
