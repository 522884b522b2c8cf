"""Forward passes of Llama-family decoders on CPUs, through kernels that are generated for the host.

All arithmetic is in float32; weights are unpacked from 4 or 8 bits as they are read. A token's KV and logits have the
same bits whatever else is in the step, so they do not depend on batches; attention of one new token and of several
differ in the order of their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..kv import KVCache
from ..model.executor import ExecutorInfo, TokenSpan
from ..model.llama import rope_angles
from ..model.shape import ModelShape
from ..model.weights import Weights
from .attention import scratch_floats
from .crew import Crew
from .formats import GROUP, PANEL
from .library import Library
from .packing import PackedWeights
from .passes import Head, Parts, Pass
from .rows import Heads
from .spans import SpanTables, span_tables

__all__ = ["NativeLlama", "heads_of"]


def heads_of(shape: ModelShape) -> Heads:
    """Returns what the kernels must know of a model's attention."""
    return Heads(shape.heads, shape.kv_heads, shape.head_dim, shape.qkv_bias, shape.qk_norm)


class NativeLlama:
    """A loaded model.

    Args:
        weights: norms, biases and embedding are read from here; the matrices are not touched.
        packed: the matrices.
        library: kernels for this model and the type of the KV memory.
        context_length: positions to prepare rope for.
        threads: that compute a step together.
        niceness: of those beside the one that calls `forward`.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        packed: PackedWeights,
        library: Library,
        *,
        context_length: int,
        threads: int,
        niceness: int = 0,
    ) -> None:
        self.shape = shape
        self.info = ExecutorInfo("native", "native", packed.name)
        self._parts = Parts(shape, weights, packed, library, heads_of(shape), rope_angles(shape, context_length))
        self._threads, self._niceness = threads, niceness
        self._crew: Crew | None = None
        self._longest = 0
        self._pass: Pass | None = None
        self._head: Head | None = None

    def close(self) -> None:
        """Ends the threads."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a step for one token reads."""
        return self._parts.packed.size

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """See `Executor.forward`."""
        tables = span_tables(spans, self._parts.heads, all_states=tap is not None)
        states = self._pass_for(tables, kv).run(tables, self._crew_for(tables.longest))
        if tap is not None:
            tap(states.clone())
            ends = np.cumsum([len(span.tokens) for span in spans]) - 1
            states = states[[int(end) for end, span in zip(ends, spans, strict=True) if span.logits]]
        return self.logits(states) if len(states) else torch.empty((0, self.shape.vocab))

    def logits(self, states: Tensor) -> Tensor:
        """See `Executor.logits`."""
        if self._head is None or self._head.capacity < len(states):
            self._head = Head(self._parts, max(GROUP, len(states)))
        return self._head.run(states, self._crew_for(1))

    def profile(self, spans: Sequence[TokenSpan], kv: KVCache) -> dict[str, float]:
        """Runs a pass and returns for each kind of operation its share of the time."""
        tables = span_tables(spans, self._parts.heads)
        its_pass = self._pass_for(tables, kv)
        clock = np.zeros(len(its_pass.tape.operations), dtype=np.int64)
        its_pass.run(tables, self._crew_for(tables.longest), clock)
        spent: dict[str, float] = {}
        for name, cycles in zip(its_pass.tape.names[1:], np.diff(clock).tolist(), strict=True):
            spent[name] = spent.get(name, 0.0) + cycles
        total = sum(spent.values())
        return {name: cycles / total for name, cycles in spent.items()}

    def _pass_for(self, tables: SpanTables, kv: KVCache) -> Pass:
        """Returns the operations, made anew where the last ones have no room for the step."""
        if self._pass is None or not self._pass.fits(tables, kv):
            self._pass = Pass(self._parts, tables, kv)
        return self._pass

    def _crew_for(self, longest: int) -> Crew:
        """Returns the threads, with scratch memory for sequences of `longest` tokens."""
        if self._crew is None or longest > self._longest:
            self.close()
            self._longest = max(2 * self._longest, longest, 512)
            widest = max(self.shape.hidden, self.shape.ffn, self.shape.q_rows)
            scratch = max(4 * scratch_floats(self._parts.heads, self._longest), 4 * PANEL * widest)
            self._crew = Crew(self._parts.library, self._threads, scratch, self._niceness)
        return self._crew
