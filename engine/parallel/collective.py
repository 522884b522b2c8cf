"""Sums and exchanges of tensors among the ranks of a worker: over gloo, over NCCL, or none at all with one rank.

Owns an explicit process group, never torch's default one: several can live in one process, and what is left of a worker
makes another one under another name when a rank is gone. Every rank calls the same operations in the same order, inside
of a forward pass. Knows nothing of models, orders and how the ranks find each other: the store comes in.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.distributed import ProcessGroupGloo, is_nccl_available
from torch.distributed.distributed_c10d import PrefixStore, Store

from ..errors import ConfigError, RankError

__all__ = ["PATIENCE_S", "Collective", "GroupCollective", "SingleRank", "open_collective"]

_PROFILED = {"exchange": "all to all"}
"""Operations that a profile calls otherwise than an error does."""

PATIENCE_S = 120.0
"""Seconds that a rank waits for the others: the first pass of a large model reads its weights from a disk."""


class Collective(Protocol):
    """The ranks of a worker, as one of them sees them. Tensors are contiguous and of the same type on all ranks."""

    @property
    def rank(self) -> int:
        """This rank."""
        ...

    @property
    def size(self) -> int:
        """The number of ranks."""
        ...

    @property
    def waited_s(self) -> float:
        """Seconds spent in the operations so far, their work and the waiting for others."""
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Makes `tensor` the sum of all ranks' tensors, and returns it.

        Raises:
            RankError: and so do the other operations; the group is closed then.
        """
        ...

    def gather(self, block: Tensor, widths: Sequence[int], *, everywhere: bool = False) -> Tensor | None:
        """Returns all ranks' blocks side by side, [rows, sum of widths], on rank 0 or everywhere; elsewhere None.

        Args:
            block: [rows, widths[rank]].
            widths: by rank.
        """
        ...

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Returns all ranks' tensors, which have one shape, as [size, *shape]."""
        ...

    def all_to_all(
        self, rows: Tensor, sends: Sequence[int], receives: Sequence[int], into: Tensor | None = None
    ) -> Tensor:
        """Returns the rows that all ranks sent here, in the order of the ranks.

        Args:
            rows: [sum of sends, ...]: first those for rank 0, and so on.
            sends: rows for each rank.
            receives: rows from each rank.
            into: where they go, on the device of `rows`; None makes memory for them.
        """
        ...

    def broadcast(self, tensor: Tensor, root: int = 0) -> Tensor:
        """Makes `tensor` that of rank `root`, and returns it."""
        ...

    def close(self) -> None:
        """Leaves the group: whatever the other ranks begin in it fails. From any thread."""
        ...


class SingleRank:
    """A worker of one rank: nothing to exchange."""

    rank = 0
    size = 1
    waited_s = 0.0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Returns `tensor`."""
        return tensor

    def gather(self, block: Tensor, widths: Sequence[int], *, everywhere: bool = False) -> Tensor | None:
        """Returns `block`."""
        return block

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Returns `tensor` as [1, *shape]."""
        return tensor.unsqueeze(0)

    def all_to_all(
        self, rows: Tensor, sends: Sequence[int], receives: Sequence[int], into: Tensor | None = None
    ) -> Tensor:
        """Returns `rows`."""
        return rows

    def broadcast(self, tensor: Tensor, root: int = 0) -> Tensor:
        """Returns `tensor`."""
        return tensor

    def close(self) -> None:
        """Does nothing."""


def open_collective(
    store: Store,
    name: str,
    rank: int,
    size: int,
    *,
    host: str,
    backend: str = "gloo",
    timeout_s: float = PATIENCE_S,
) -> Collective:
    """Returns the group of `size` ranks, once all of them are there.

    Args:
        store: where the ranks find each other's addresses.
        name: of the group; a store may serve several, one after the other or at once.
        host: address of this rank that the others reach it at; gloo listens there alone.
        backend: "gloo" for any device, or "nccl" for ranks that have a GPU each.
        timeout_s: seconds that each operation, and this one, waits for the others.

    Raises:
        ConfigError: torch has no NCCL.
        RankError: a rank did not come, or the address cannot be listened at.
    """
    if size == 1:
        return SingleRank()
    make = _nccl if backend == "nccl" else _gloo
    scope, limit = PrefixStore(name, store), timedelta(seconds=timeout_s)
    try:
        group = make(scope, rank, size, host, limit)
    except RuntimeError as error:
        problem = _reason_of(error, timeout_s)
    else:
        return GroupCollective(group, rank, size, staged=backend != "nccl", timeout_s=timeout_s)
    raise RankError(f"Rank {rank} of {size} found no group with the others at {host}: {problem}.")


def _gloo(store: Store, rank: int, size: int, host: str, timeout: timedelta) -> Any:
    kind: Any = ProcessGroupGloo  # its stubs lack the options, which alone take an address
    options = kind._Options()
    options._devices = [kind.create_device(hostname=host)]
    options._timeout = timeout
    options._threads = 1  # there is one operation at a time
    return kind(store, rank, size, options)


def _nccl(store: Store, rank: int, size: int, host: str, timeout: timedelta) -> Any:
    if not is_nccl_available():
        problem = "several GPUs need NCCL, which this torch lacks"
        raise ConfigError("--tp-size", size, problem, "install a torch that is built for GPUs, or use 1")
    from torch.distributed import ProcessGroupNCCL

    kind: Any = ProcessGroupNCCL
    options = kind.Options()
    options._timeout = timeout
    return kind(store, rank, size, options)


class GroupCollective:
    """A process group of torch.

    Args:
        group: one of torch's backends.
        staged: tensors on a GPU travel by way of the host.
        timeout_s: the group's own, for errors.
    """

    def __init__(self, group: Any, rank: int, size: int, *, staged: bool, timeout_s: float) -> None:
        self._group: Any = group
        self._rank = rank
        self._size = size
        self._staged = staged
        self._timeout_s = timeout_s
        self._waited_s = 0.0
        self._lock = threading.Lock()
        self._busy = self._left = False

    @property
    def rank(self) -> int:
        """This rank."""
        return self._rank

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self._size

    @property
    def waited_s(self) -> float:
        """Seconds spent in the operations so far; with NCCL, those of launching them alone."""
        return self._waited_s

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Makes `tensor` the sum of all ranks' tensors, and returns it."""
        here = self._here(tensor)
        self._carry_out("sum", tensor, lambda group: group.allreduce([here]))
        return tensor if here is tensor else tensor.copy_(here)

    def gather(self, block: Tensor, widths: Sequence[int], *, everywhere: bool = False) -> Tensor | None:
        """Returns all ranks' blocks side by side, [rows, sum of widths], on rank 0 or everywhere; elsewhere None."""
        padded = F.pad(block, (0, max(widths) - block.shape[-1]))  # the backends want equal shapes
        blocks = self.all_gather(padded) if everywhere else self._to_first(padded)
        if blocks is None:
            return None
        return torch.cat([one[..., :width] for one, width in zip(blocks, widths, strict=True)], dim=-1)

    def _to_first(self, tensor: Tensor) -> Tensor | None:
        """Returns what `all_gather` does on rank 0, elsewhere None."""
        here = self._here(tensor)
        taken = here.new_empty((self._size, *here.shape)) if self._rank == 0 else None
        outputs = [] if taken is None else [list(taken)]
        self._carry_out("gather", tensor, lambda group: group.gather(outputs, [here]))
        return None if taken is None else taken.to(tensor.device)

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Returns all ranks' tensors, which have one shape, as [size, *shape]."""
        here = self._here(tensor)
        taken = here.new_empty((self._size, *here.shape))
        self._carry_out("gather", tensor, lambda group: group.allgather([list(taken)], [here]))
        return taken.to(tensor.device)

    def all_to_all(
        self, rows: Tensor, sends: Sequence[int], receives: Sequence[int], into: Tensor | None = None
    ) -> Tensor:
        """Returns the rows that all ranks sent here, in the order of the ranks."""
        here = self._here(rows)
        taken = into
        if taken is None or taken.device != here.device:
            taken = here.new_empty((sum(receives), *here.shape[1:]))
        splits = list(receives), list(sends)
        self._carry_out("exchange", rows, lambda group: group.alltoall_base(taken, here, *splits))
        if into is None or taken is into:
            return taken.to(rows.device)
        return into.copy_(taken)

    def broadcast(self, tensor: Tensor, root: int = 0) -> Tensor:
        """Makes `tensor` that of rank `root`, and returns it."""
        here = self._here(tensor)
        options = torch.distributed.BroadcastOptions()
        options.rootRank = root
        self._carry_out("broadcast", tensor, lambda group: group.broadcast([here], options))
        return tensor if here is tensor else tensor.copy_(here)

    def close(self) -> None:
        """Leaves the group, when the operation that waits in another thread has ended: its connections close.

        That one ends by itself when a rank is gone, since its connections are, and else after the timeout.
        """
        with self._lock:
            self._left = True
            if not self._busy:
                self._group = None  # the last reference; torch waits here for what is under way

    def _here(self, tensor: Tensor) -> Tensor:
        """Returns the tensor that travels."""
        assert tensor.is_contiguous()
        return tensor.cpu() if self._staged else tensor

    def _carry_out(self, name: str, tensor: Tensor, start: Callable[[Any], Any]) -> None:
        """Waits for the operation that `start` begins.

        Nothing here keeps the operation or the group alive behind an error: a rank that waits for this one learns of
        the failure by the closed connection, not after its timeout.
        """
        problem, began = "the group was left before", time.monotonic()
        with self._lock:
            self._busy = not self._left
        if self._busy:
            problem = ""
            try:
                with record_function(f"exchange: {_PROFILED.get(name, name)}"):
                    start(self._group).wait()
            except RuntimeError as error:
                problem = _reason_of(error, self._timeout_s)
            finally:
                self._waited_s += time.monotonic() - began
                self._busy = False
            if self._left or problem:
                self.close()
        if not problem:
            return
        sizes = "x".join(str(size) for size in tensor.shape)
        raise RankError(f"Rank {self._rank} of {self._size} could not {name} {sizes} numbers: {problem}.")


def _reason_of(error: RuntimeError, timeout_s: float) -> str:
    """Returns in a few words what a backend says in many."""
    text = str(error)
    if re.search(r"timed? ?out|timeout", text, re.IGNORECASE):
        return f"another rank did not answer within {timeout_s:g} s"
    if peer := re.search(r"(?:closed by|reset by|refused by|\bpeer)\D{0,40}\[([^\]]+)\]", text):
        return f"the rank at {peer[1]} is gone"
    if re.search(r"connection (?:closed|reset|refused)|broken pipe|closed pair|unexpected EOF", text, re.IGNORECASE):
        return "another rank is gone"
    lines = re.sub(r"^\[[^\]]*\]\s*", "", text).splitlines() or [""]
    return lines[0].rstrip(". ") or type(error).__name__
