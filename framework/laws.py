"""The laws that more than one kind of part must obey; `framework.testing` tries them on each kind.

Each raises an AssertionError that names the part, the law which is broken and what to do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

Part = TypeVar("Part", bound=nn.Module)

BATCH = 6
KEY = 2026
# Of float32 sums in another order, relative to the values' size: a few hundred roundings of 6e-8.
_ROUNDING = 1e-5


def require(holds: bool, part: object, law: str, action: str) -> None:
    """Raise an AssertionError, by name and not by `assert`, which python -O leaves out."""
    if not holds:
        raise AssertionError(f"{type(part).__name__}: {law}; {action}")


def check_shape(part: object, value: Tensor, expected: tuple[int, ...], law: str, action: str) -> None:
    """Check that a value has the expected shape."""
    shape = list(value.shape)
    require(tuple(shape) == expected, part, f"expected {law}, of shape {list(expected)}, found {shape}", action)


def check_shapes(part: object, distribution: Distribution, batch: tuple[int, ...], event: tuple[int, ...]) -> None:
    """Check a distribution's batch and event shapes."""
    found = f"batch shape {list(distribution.batch_shape)} and event shape {list(distribution.event_shape)}"
    require(
        tuple(distribution.batch_shape) == batch and tuple(distribution.event_shape) == event,
        part,
        f"expected a distribution of batch shape {list(batch)} and event shape {list(event)}, found {found}",
        "torch.distributions.Independent makes batch dimensions part of the event",
    )


def check_finite(part: object, value: Tensor) -> None:
    """Check that no element is infinite or NaN."""
    action = "look for a division by zero or a logarithm of it"
    require(bool(value.isfinite().all()), part, f"values are finite, found {value.tolist()}", action)


def check_dtype(part: object, expected: torch.dtype, *found: torch.dtype) -> None:
    """Check that what comes out is of the type that went in."""
    require(
        all(dtype == expected for dtype in found),
        part,
        f"{expected} in is {expected} out, found {found[0] if len(found) == 1 else found}",
        "make constants with the input's dtype (new_zeros, like=…) and register them as buffers",
    )


def check_untouched(part: object, before: list[Tensor], after: list[Tensor]) -> None:
    """Check that inputs are what they were before the call."""
    require(
        all(torch.equal(one, other) for one, other in zip(before, after, strict=True)),
        part,
        "inputs are left as they were",
        "change no input in place (add_, clamp_, out=…)",
    )


def check_state(part: nn.Module, fresh: nn.Module, output: Callable[[nn.Module], Tensor]) -> None:
    """Load the state of a part that has been used into one that has not: it must then be the same part."""
    action = "keep what is learned or counted in parameters and buffers, made in the constructor"
    plain = [name for module in part.modules() for name, value in vars(module).items() if isinstance(value, Tensor)]
    require(not plain, part, f"tensors are parameters or buffers, found attributes {plain}", "use register_buffer")
    differences = fresh.load_state_dict(part.state_dict(), strict=False)
    require(not any(differences), part, f"state_dict can be loaded back, found {differences}", action)
    values = []
    with torch.no_grad():
        for one in (part.eval(), fresh.eval()):
            torch.default_generator.manual_seed(KEY)
            values.append(output(one))
    part.train()
    require(torch.equal(*values), part, "state_dict holds all that the part's values depend on", action)


def copy_of(part: Part) -> Part:
    """Return a copy that shares nothing with the part."""
    try:
        return copy.deepcopy(part)
    except (TypeError, RuntimeError) as error:
        action = "keep no lock, no file and no result with a graph as an attribute"
        raise AssertionError(f"{type(part).__name__}: a part can be copied, found {error}; {action}") from error


def is_close(one: Tensor, other: Tensor) -> bool:
    """Return whether two values of one shape differ by roundings alone."""
    return bool(((one - other).abs() <= _ROUNDING * (1 + one.abs())).all())


def reaches(value: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Return whether the value's gradient is finite, and not zero for at least one of the leaves."""
    if not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    found = [gradient for gradient in gradients if gradient is not None]
    finite = all(bool(gradient.isfinite().all()) for gradient in found)
    return finite and any(bool(gradient.any()) for gradient in found)


@contextmanager
def fixed_randomness() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(KEY)
    try:
        yield
    finally:
        torch.set_rng_state(state)
