"""Forward passes of Llama-family decoders on CPUs, through kernels that are generated for the host.

Prompts are computed in float32; weights are unpacked from 4 or 8 bits as they are read. A token of an answer is
multiplied as whole numbers of 15 bits where the processor has an instruction for that (`dots`), and attends in another
order of sums. Which way a token goes follows from its span alone: its KV and its logits have the same bits whatever
else is in the step, and when it is computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..kv import KVCache
from ..model.executor import ExecutorInfo, TokenSpan
from ..model.llama import rope_angles
from ..model.shape import ModelShape
from ..model.weights import Weights
from ..profiling_spans import OPERATION, Spans
from .attention import scratch_floats
from .crew import Crew
from .formats import GROUP, PANEL
from .library import Library
from .machine import Machine
from .packing import PackedWeights
from .passes import Head, Parts, Pass
from .rows import Heads
from .spans import SpanTables, span_tables

__all__ = ["NativeLlama", "heads_of"]


def heads_of(shape: ModelShape) -> Heads:
    """Returns what the kernels must know of a model's attention."""
    return Heads(shape.heads, shape.kv_heads, shape.head_dim, shape.qkv_bias, shape.qk_norm)


def _decode_path(machine: Machine) -> str:
    """Returns what linear layers multiply for tokens of answers, and why."""
    if machine.dot_lanes:
        return "bytes, two for each activation"
    return f"float32, since this CPU ({machine.name}) has neither AVX512-VNNI nor AVX-VNNI"


class NativeLlama:
    """A loaded model.

    Args:
        weights: norms, biases and embedding are read from here; the matrices are not touched.
        packed: the matrices.
        library: kernels for this model and the type of the KV memory.
        context_length: positions to prepare rope for.
        threads: that compute a step together.
        niceness: of those beside the one that calls `forward`.

    Attributes:
        noted: takes the time of each operation while a profile is made; None for a model that nobody profiles.
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
        self.info = ExecutorInfo("native", "native", packed.name, decode=_decode_path(library.machine))
        self._parts = Parts(shape, weights, packed, library, heads_of(shape), rope_angles(shape, context_length))
        self._threads, self._niceness = threads, niceness
        self._crew: Crew | None = None
        self._longest = 0
        self._pass: Pass | None = None
        self._head: Head | None = None
        self.noted: Spans | None = None

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
        states = self._run(tables, kv)
        wanted = sorted(tables.wanted)
        if tap is not None:
            tap(states[tables.order])
            states = states[wanted]
        if not wanted:
            return torch.empty((0, self.shape.vocab))
        decoding = sum(span.decodes and span.logits for span in spans)
        found = self._logits(states, decoding)
        if wanted == tables.wanted:
            return found
        places = {number: row for row, number in enumerate(wanted)}
        return found[[places[number] for number in tables.wanted]]

    def logits(self, states: Tensor) -> Tensor:
        """See `Executor.logits`."""
        return self._logits(states, 0)

    def _logits(self, states: Tensor, decoding: int) -> Tensor:
        """Returns the logits of states, the first `decoding` of which are of decoding spans."""
        if self._head is None or self._head.capacity < len(states):
            self._head = Head(self._parts, max(GROUP, len(states)))
        began = time.time_ns()
        found = self._head.run(states, decoding, self._crew_for(1))
        if self.noted is not None:
            self.noted.add(OPERATION, "lm_head", began, time.time_ns())
        return found

    def _run(self, tables: SpanTables, kv: KVCache) -> Tensor:
        its_pass, crew = self._pass_for(tables, kv), self._crew_for(tables.longest)
        if self.noted is None or not self.noted.active:
            return its_pass.run(tables, crew)
        clock, began = np.zeros(len(its_pass.tape.operations), dtype=np.int64), time.time_ns()
        states = its_pass.run(tables, crew, clock)
        ran = its_pass.tape.operations[:, 2] > 0
        names = [name for name, has_tiles in zip(its_pass.tape.names, ran, strict=True) if has_tiles]
        self.noted.add_operations(names, clock[ran].tolist(), began, time.time_ns())
        return states

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
