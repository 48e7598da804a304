"""Products of a linear layer on the CPU by oneDNN, where torch by itself asks MKL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Multiplications below which the way there and back costs more than it saves.
FEWEST = 2**22


def fast_products(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which large products x Wᵀ + b of float32 on the CPU, without gradients, are oneDNN's.

    On processors with AVX-512 that are not Intel's they take a third to a half of MKL's time; the numbers differ by
    rounding. On other devices, and where torch was built without oneDNN, nothing changes.

    Args:
        device: where the layers are.

    Example:
        >>> decoder = torch.nn.Linear(2, 3)
        >>> with fast_products(torch.device("cpu")), torch.inference_mode():
        ...     logits = decoder(torch.zeros(5, 2))
    """
    return _OneDNN() if device.type == "cpu" and torch.backends.mkldnn.is_available() else nullcontext()


class _OneDNN(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3 and _suits(*args):
            x, weight, bias = args
            return func(x.to_mkldnn(), weight, bias).to_dense()
        return func(*args, **(kwargs or {}))


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        bias is not None
        and x.dim() == 2
        and x.dtype == weight.dtype == bias.dtype == torch.float32
        and x.device.type == "cpu"
        and len(x) * weight.numel() >= FEWEST
        and not torch.is_grad_enabled()
    )
