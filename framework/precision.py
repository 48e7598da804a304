"""Where half precision ends: networks may run in it, what is computed from their outputs may not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast, for densities, samples and divergences.

    Their differences of large numbers, and their products of matrices, do not survive half precision.

    Args:
        tensor: what is computed with, for its device.
    """
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def at_least_single(outputs: Tensor) -> Tensor:
    """Return a network's last outputs, in float32 where they were in half precision."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
