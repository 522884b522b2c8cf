"""CUDA graphs of decode: a step's launches recorded once for each batch size, then replayed with one call.

A batch runs in the smallest recorded size that holds it; the rows that are left over are nobody's: they write to a
spare page and nobody reads what they compute. Inputs and outputs lie in memory of their own, recorded sizes share one
pool, and the largest is recorded first, so that the others fit into what it took. Knows no model: only work over a
batch of rows.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["CudaRecorder", "DecodeGraphs", "Recorder", "graph_sizes"]

Work = Callable[[Tensor], Tensor]
"""[3, rows] int64 of ids, positions and first pages -> states [rows, hidden]."""

_STEP, _WIDE_STEP, _WIDE = 8, 16, 128
_WARM_UPS = 2  # the first compiles kernels, the second meets them as they will be


def graph_sizes(most: int) -> tuple[int, ...]:
    """Returns the batch sizes to record, ascending: 1, 2, 4, then in steps of 8 and from 128 on of 16, up to `most`."""
    sizes = {1, 2, 4, *range(_STEP, _WIDE + 1, _STEP), *range(_WIDE, most + 1, _WIDE_STEP), most}
    return tuple(sorted(size for size in sizes if 0 < size <= most))


class Recorder(Protocol):
    """What turns work into something that can be replayed."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what does `work` again, over the same memory."""
        ...


class CudaRecorder:
    """Records CUDA graphs; on AMD the same calls make HIP graphs."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None  # an opaque handle of torch's

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns the replay of a graph of `work`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # A transport's threads may call CUDA meanwhile; what they do is no part of the graph.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        self._pool = graph.pool()
        return graph.replay


class DecodeGraphs:
    """The recorded sizes.

    Args:
        work: what is recorded, the same for every size.
        most: rows of the largest size.
        width: of a state.
        spare_page: a slot page that belongs to no sequence.
    """

    def __init__(
        self,
        work: Work,
        recorder: Recorder,
        *,
        most: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
        spare_page: int,
    ) -> None:
        self._spare_page = spare_page
        self._sizes = graph_sizes(most)
        self._inputs = torch.zeros(3 * most, dtype=torch.int64, device=device)
        self._states = torch.zeros((most, width), dtype=dtype, device=device)
        self._replays: dict[int, Callable[[], None]] = {}
        for size in reversed(self._sizes):
            inputs, states = self._inputs_of(size), self._states[:size]
            inputs.copy_(self._padded((), size))

            def once(inputs: Tensor = inputs, states: Tensor = states) -> None:
                states.copy_(work(inputs))

            self._replays[size] = recorder.record(once)

    @property
    def most(self) -> int:
        """Rows of the largest size."""
        return self._sizes[-1]

    def run(self, rows: Sequence[tuple[int, int, int]], ids: Tensor | None = None) -> Tensor:
        """Returns the states of the rows, [rows, hidden]; the next run overwrites them.

        Args:
            rows: id, position and first page of each, 1 to `most` of them.
            ids: [rows] int64 on the device, in place of those in `rows`.
        """
        size = self._sizes[bisect.bisect_left(self._sizes, len(rows))]
        inputs = self._inputs_of(size)
        inputs.copy_(self._padded(rows, size), non_blocking=True)
        if ids is not None:
            inputs[0, : len(rows)].copy_(ids)
        self._replays[size]()
        return self._states[: len(rows)]

    def _inputs_of(self, size: int) -> Tensor:
        return self._inputs[: 3 * size].view(3, size)

    def _padded(self, rows: Sequence[tuple[int, int, int]], size: int) -> Tensor:
        """Returns the inputs of `size` rows, [3, size], in memory that a device copies from without waiting."""
        padded = [*rows, *([(0, 0, self._spare_page)] * (size - len(rows)))]
        return torch.tensor(list(zip(*padded, strict=True)), dtype=torch.int64, pin_memory=self._inputs.is_cuda)
