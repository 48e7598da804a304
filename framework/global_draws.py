"""Random numbers for one part of a batch, as one process would draw them for the whole.

Legend: B rows of the whole batch, b rows of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Each fills, or returns, one value an element, and what one element takes from the generator depends on no value.
_FILLS = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"
}  # fmt: skip
_DRAWS = {
    "bernoulli",
    "native_dropout",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
}
_DROPOUTS = {"bernoulli_", "native_dropout"}  # on the CPU a mask is filled, on the GPU drawn


class GlobalDraws(TorchDispatchMode):
    """A context in which random draws for one part of a batch are its rows of the draw for the whole.

    A draw whose result has b rows is made for all count·b, from the generator as it is, and the rows
    [position·b, (position + 1)·b) are kept: dropout, `torch.randn`, `rand_like`, `bernoulli`, `normal_`, …. With
    generators that are seeded alike, the parts together are the draw of one process, to the bit, and the generators end
    alike. Draws with another first size run as they are: they are for the whole batch, or for no example.

    The first dimension is all that tells an example's draw from another, so b should be no other size of the model's;
    an `nn.Parameter` is never taken for examples. Not for what is compiled by `torch.compile`.

    Args:
        position: which part this is, from 0.
        count: of how many, at least 2.
        rows: b, the examples of a part.

    Raises:
        ValueError: (inside) a draw over b rows that cannot be told apart by row: by rejection (gamma, Poisson, …), or
            inside a kernel (attention with dropout); dropout over examples that are not the first dimension.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> with GlobalDraws(position=1, count=2, rows=3):
        ...     last = torch.rand(3)
        >>> _ = torch.manual_seed(0)
        >>> torch.equal(last, torch.rand(6)[3:])
        True
    """

    def __init__(self, position: int, count: int, rows: int) -> None:
        assert 0 <= position < count > 1, "a whole batch draws as it is"
        super().__init__()  # type: ignore[no-untyped-call]
        self.position, self.count, self.rows = position, count, rows

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():
            with self:  # there a composite, such as dropout, arrives whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name not in _FILLS | _DRAWS or "out" in kwargs:
            return self._watched(func, args, kwargs)
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        if name in _DROPOUTS:
            self._check_dropout(func, tensors[0])
        if not tensors:
            return self._made(func, args, kwargs)
        shaping = tensors[:1] if name in _FILLS else tensors  # whose shapes make the result's
        dimensions = max(map(Tensor.dim, shaping))
        if not any(self._is_rows(tensor, dimensions) for tensor in shaping):
            return func(*args, **kwargs)
        whole = [
            self._tiled(argument) if isinstance(argument, Tensor) and self._is_rows(argument, dimensions) else argument
            for argument in args
        ]
        if name not in _FILLS:
            return self._own(func(*whole, **kwargs))
        whole[0] = self._like(tensors[0], tensors[0].stride())
        return tensors[0].copy_(self._own(func(*whole, **kwargs)))

    def _made(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Draw what is asked for by its size: randn(size), randint(low, high, size), normal(0, 1, size)."""
        place, size = next((place, value) for place, value in enumerate(args) if isinstance(value, list | tuple))
        if not size or size[0] != self.rows:
            return func(*args, **kwargs)
        whole = [self.count * self.rows, *size[1:]]
        return self._own(func(*args[:place], whole, *args[place + 1 :], **kwargs))

    def _watched(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation that may draw, and refuse it if it did so over rows."""
        generator = _generator(args, kwargs)
        before = generator.get_state()
        result = func(*args, **kwargs)
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        results = result if isinstance(result, tuple) else (result,)
        over_rows = any(self._is_rows(tensor, tensor.dim()) for tensor in tensors) or (
            # randperm(b) has no tensor to tell by; a parameter's draw is the same everywhere
            not any(isinstance(tensor, nn.Parameter) for tensor in tensors)
            and any(self._is_rows(value, value.dim()) for value in results if isinstance(value, Tensor))
        )
        if over_rows and not torch.equal(before, generator.get_state()):
            raise ValueError(
                f"{func}: expected a draw of one value an element, found one over {self._part()} that cannot be told "
                "apart by row; draw them from the gathered posterior, or train on one process without microbatch"
            )
        return result

    def _check_dropout(self, func: Any, x: Tensor) -> None:
        """Refuse dropout over examples that are not the first dimension: the same mask would drop in every part."""
        first, *others = x.shape or [0]
        if first in (self.rows, self.count * self.rows) or isinstance(x, nn.Parameter):
            return
        if self.rows in others or (first and first % self.rows == 0):
            raise ValueError(
                f"{func}: expected dropout over [{self.rows}, ...], found {list(x.shape)} for {self._part()}, which "
                "may be elsewhere than in the first dimension (heads of attention, a recurrent network's time); give "
                "attention need_weights=False, move the examples first, or train on one process without microbatch"
            )

    def _part(self) -> str:
        return f"{self.rows} of a batch's {self.count * self.rows} examples"

    def _is_rows(self, tensor: Tensor, dimensions: int) -> bool:
        """Whether a tensor has one row an example, where a result of so many dimensions does."""
        return tensor.dim() == dimensions > 0 and tensor.shape[0] == self.rows and not isinstance(tensor, nn.Parameter)

    def _tiled(self, tensor: Tensor) -> Tensor:
        """Return a tensor of all rows, [count·b, ...], whose own rows are the tensor's."""
        whole = self._like(tensor, torch.empty_like(tensor).stride())
        whole.unflatten(0, (self.count, self.rows)).copy_(tensor.unsqueeze(0))
        return whole

    def _like(self, tensor: Tensor, stride: Sequence[int]) -> Tensor:
        """Return an empty tensor of all rows in the memory order of the part: that order is the order of the draws."""
        # Dimensions outside of the first move apart; of equal steps (b = 1) the first's is the inner one.
        wider = [stride[0], *(step if step < stride[0] else step * self.count for step in stride[1:])]
        size = (self.count * self.rows, *tensor.shape[1:])
        return torch.empty_strided(size, wider, dtype=tensor.dtype, device=tensor.device)

    def _own(self, whole: Any) -> Any:
        if isinstance(whole, tuple):
            return tuple(map(self._own, whole))
        return whole.narrow(0, self.position * self.rows, self.rows).clone()  # a view would keep all rows alive


def _generator(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Generator:
    """Return the generator that an operation with these arguments draws from."""
    given = [*args, *kwargs.values()]
    for value in given:
        if isinstance(value, torch.Generator):
            return value
    device = next((value.device for value in given if isinstance(value, Tensor)), kwargs.get("device"))
    if device is None or device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
