"""The ranks of a worker as threads of one process: in real gloo groups, or in one that costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from pdpanel.engine.parallel.collective import Collective, open_collective
from torch import Tensor
from torch._C._distributed_c10d import HashStore

__all__ = ["RankWorld"]

Result = TypeVar("Result")


class _Meeting:
    """Where threads lay down what they have and take what the others have."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._brought: list[Tensor] = [torch.empty(0)] * size
        self._barrier = Barrier(size)

    def exchange(self, rank: int, tensor: Tensor) -> list[Tensor]:
        self._brought[rank] = tensor.clone()
        self._barrier.wait(60)
        taken = list(self._brought)
        self._barrier.wait(60)
        return taken


class _Pretended:
    """A `Collective` among threads."""

    waited_s = 0.0

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.size = meeting.size
        self._meeting = meeting

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.stack(self._meeting.exchange(self.rank, tensor)).sum(0))

    def gather(self, block: Tensor, widths: Sequence[int], *, everywhere: bool = False) -> Tensor | None:
        taken = self._meeting.exchange(self.rank, block)
        assert [one.shape[-1] for one in taken] == list(widths)
        return torch.cat(taken, dim=-1) if everywhere or self.rank == 0 else None

    def all_gather(self, tensor: Tensor) -> Tensor:
        return torch.stack(self._meeting.exchange(self.rank, tensor))

    def all_to_all(
        self, rows: Tensor, sends: Sequence[int], receives: Sequence[int], into: Tensor | None = None
    ) -> Tensor:
        counts = self._meeting.exchange(self.rank, torch.tensor(list(sends)))
        taken = self._meeting.exchange(self.rank, rows)
        own = [one.split(count.tolist())[self.rank] for one, count in zip(taken, counts, strict=True)]
        assert [len(one) for one in own] == list(receives)
        return torch.cat(own) if into is None else into.copy_(torch.cat(own))

    def broadcast(self, tensor: Tensor, root: int = 0) -> Tensor:
        return tensor.copy_(self._meeting.exchange(self.rank, tensor)[root])

    def close(self) -> None:
        """Does nothing."""


class RankWorld:
    """`size` ranks, a thread each, in one group.

    Args:
        real: over gloo; else by what the threads share.
        timeout_s: of gloo's operations.
    """

    def __init__(self, size: int, *, real: bool = True, timeout_s: float = 60.0) -> None:
        self._threads = ThreadPoolExecutor(size)
        self._store = HashStore()
        self._timeout_s = timeout_s
        self.size = size
        meeting = _Meeting(size)
        pretended = [_Pretended(rank, meeting) for rank in range(size)]
        self.collectives: list[Collective] = self.join("first") if real else [*pretended]

    def join(self, name: str, ranks: int | None = None) -> list[Collective]:
        """Opens a group of the first `ranks`, or of all."""
        ranks = self.size if ranks is None else ranks
        opened = [
            self._threads.submit(
                open_collective, self._store, name, rank, ranks, host="127.0.0.1", timeout_s=self._timeout_s
            )
            for rank in range(ranks)
        ]
        return [future.result(60) for future in opened]

    def run(self, work: Callable[[Collective], Result]) -> list[Result]:
        """Returns, by rank, what `work` made on each of them at the same time, in inference mode as steps are."""

        def within(collective: Collective) -> Result:
            with torch.inference_mode():
                return work(collective)

        began = [self._threads.submit(within, collective) for collective in self.collectives]
        return [future.result(60) for future in began]

    def close(self) -> None:
        """Leaves the group and ends the threads."""
        for collective in self.collectives:
            collective.close()
        self._threads.shutdown()
