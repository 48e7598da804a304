"""The processes that train one model, and the numbers and words that they exchange.

Flags, digests and sums of numbers travel in tensors: nothing is pickled. A group on GPUs has a backend for the CPU too.

Legend: W processes, r the rank of this one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from framework.launch import Place, torchrun_variables

try:
    from torch.distributed import all_gather_single, reduce_scatter_single
except ImportError:  # torch before 2.13 has them under the names that 2.13 warns of
    from torch.distributed import all_gather_into_tensor as all_gather_single
    from torch.distributed import reduce_scatter_tensor as reduce_scatter_single


def join() -> None:
    """Meet the other processes, where the launcher's variables say; from then on this is one of W.

    Raises:
        RecipeError: the variables are there in part.
    """
    os.environ.update(torchrun_variables(os.environ))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


@contextmanager
def first_on_each_node(place: Place | None) -> Iterator[None]:
    """Let the first process of each machine do what is inside before the others do; alone, just do it."""
    if place is not None and place.local_rank > 0:
        barrier()
    yield
    if place is not None and place.local_rank == 0:
        barrier()


def world_size() -> int:
    """Return W, the number of processes that train together; 1 where no process group is initialised."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return r, this process's number, from 0; 0 where no process group is initialised."""
    return dist.get_rank() if dist.is_initialized() else 0


def all_gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, [b, N] here → [W·b, N], without gradient."""
    whole = rows.new_empty(world_size() * len(rows), rows.shape[1])
    all_gather_single(whole, rows.contiguous())
    return whole


def reduce_scatter(whole: Tensor) -> Tensor:
    """Return the own rows of the processes' sum, [W·b, N] on each → [b, N], without gradient."""
    rows = whole.new_empty(len(whole) // world_size(), whole.shape[1])
    reduce_scatter_single(rows, whole.contiguous())
    return rows


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return Σ_r of the processes' tensors, the same bits on each, without gradient.

    Args:
        tensor: any shape, the same on every process; left as it is.
    """
    if world_size() == 1:
        return tensor.detach()
    # Gathering takes a third of the time that gloo's reduction of a few numbers does.
    return all_gather(tensor.detach().reshape(1, -1)).sum(0).view(tensor.shape)


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """Return for each flag whether it is true on any process; one collective for all.

    Args:
        flags: as many on every process.
    """
    if world_size() == 1 or not flags:
        return list(flags)
    return [count > 0 for count in sum_over_ranks(torch.tensor(flags, dtype=torch.int64)).tolist()]


def same_on_all_ranks(text: str) -> bool:
    """Return whether every process was called with this text; the answer is the same on each.

    What is compared is its SHA-256 digest.
    """
    digest = torch.tensor(list(hashlib.sha256(text.encode()).digest()))  # [32]
    table = torch.zeros(world_size(), len(digest), dtype=torch.int64)
    table[rank()] = digest
    table = sum_over_ranks(table)  # every process's digest, [W, 32]
    return bool((table == table[0]).all())


def broadcast_module(module: nn.Module) -> None:
    """Give a module's parameters and buffers the values that they have on process 0, in place."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            values = tensor.detach().clone(memory_format=torch.contiguous_format)
            dist.broadcast(values, src=0)
            tensor.copy_(values)


def barrier() -> None:
    """Wait until every process is here."""
    sum_over_ranks(torch.zeros(()))  # on the CPU; torch's own would guess a GPU and warn of it


# What gloo's transport and NCCL write when the other end has died, or has been silent for the group's timeout. A wrong
# size or a wrong device is reported by the same classes, and on every process: it is not among these.
_GONE = re.compile(
    r"Connection closed by peer|Connection reset by peer|Connection refused|Broken pipe|Socket closed|[Tt]imed out"
    r"|ncclRemoteError|remote process exit|communicator was aborted|closed by remote peer|[Tt]imeout"
)


def lost_contact(error: BaseException) -> bool:
    """Return whether an exception only says that another process is gone; the reason is in that one's report.

    Args:
        error: from a collective, or from the backward of a model whose gradients are averaged.
    """
    if isinstance(error, dist.DistNetworkError | dist.DistStoreError):
        return True
    from_backend = isinstance(error, dist.DistBackendError) or (
        # torch has no class for gloo's: "[/…/gloo/transport/tcp/pair.cc:553] Connection closed by peer …"
        isinstance(error, RuntimeError) and "gloo/" in str(error)
    )
    return from_backend and _GONE.search(str(error)) is not None
