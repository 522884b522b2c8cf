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
from .crew import Crew, Words
from .formats import GROUP, PANEL
from .library import Library
from .linear import Epilogue
from .memory import aligned
from .packing import PackedWeights
from .rows import Heads
from .spans import SpanTables, span_tables
from .tape import Count, Tape, floats, table

__all__ = ["NativeLlama", "heads_of"]

_PACK_ROOM = 1.5


def heads_of(shape: ModelShape) -> Heads:
    """Returns what the kernels must know of a model's attention."""
    return Heads(shape.heads, shape.kv_heads, shape.head_dim, shape.qkv_bias, shape.qk_norm)


class NativeLlama:
    """A loaded model.

    Args:
        weights: norms, biases and embedding are read from here; the matrices are not touched.
        packed: the matrices.
        program: kernels of `library.open_library` for this model and the type of the KV memory.
        context_length: positions to prepare rope for.
        threads: that compute a step together.
        niceness: of those beside the one that calls `forward`.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        packed: PackedWeights,
        program: Library,
        *,
        context_length: int,
        threads: int,
        niceness: int = 0,
    ) -> None:
        self.shape = shape
        self.info = ExecutorInfo("native", "native", packed.name)
        self._weights, self._packed, self._program = weights, packed, program
        self._heads = heads_of(shape)
        self._threads, self._niceness = threads, niceness
        cos, sin = rope_angles(shape, context_length)
        self._cos, self._sin = cos.contiguous(), sin.contiguous()  # [positions, head_dim / 2]
        self._epsilon = int(np.float32(shape.rms_eps).view(np.int32))
        self._crew: Crew | None = None
        self._longest = 0
        self._pass: _Pass | None = None
        self._head: _Head | None = None

    def close(self) -> None:
        """Ends the threads."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    @property
    def program(self) -> Library:
        """The kernels."""
        return self._program

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a step for one token reads."""
        return self._packed.size

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """See `Executor.forward`."""
        tables = span_tables(spans, self._heads)
        crew = self._crew_for(tables.longest)
        if self._pass is None or not self._pass.fits(tables, kv):
            self._pass = _Pass(self, tables, kv)
        states = self._pass.run(tables, crew)
        if tap is not None:
            tap(states.clone())
        if not tables.wanted:
            return torch.empty((0, self.shape.vocab))
        return self.logits(states[tables.wanted])

    def logits(self, states: Tensor) -> Tensor:
        """See `Executor.logits`."""
        crew = self._crew_for(1)
        if self._head is None or self._head.capacity < len(states):
            self._head = _Head(self, max(GROUP, len(states)))
        return self._head.run(states, crew)

    def profile(self, spans: Sequence[TokenSpan], kv: KVCache) -> dict[str, float]:
        """Runs a pass and returns for each kind of operation its share of the time."""
        tables = span_tables(spans, self._heads)
        crew = self._crew_for(tables.longest)
        if self._pass is None or not self._pass.fits(tables, kv):
            self._pass = _Pass(self, tables, kv)
        clock = np.zeros(len(self._pass.tape.operations), dtype=np.int64)
        self._pass.run(tables, crew, clock)
        spent: dict[str, float] = {}
        for name, cycles in zip(self._pass.tape.names[1:], np.diff(clock).tolist(), strict=True):
            spent[name] = spent.get(name, 0.0) + cycles
        total = sum(spent.values())
        return {name: cycles / total for name, cycles in spent.items()}

    def _crew_for(self, longest: int) -> Crew:
        """Returns the threads, with scratch memory for sequences of `longest` tokens."""
        if self._crew is None or longest > self._longest:
            if self._crew is not None:
                self._crew.close()
            self._longest = max(2 * self._longest, longest, 512)
            widest = max(self.shape.hidden, self.shape.ffn, self.shape.q_rows)
            scratch = max(4 * scratch_floats(self._heads, self._longest), 4 * PANEL * widest)
            self._crew = Crew(self._program, self._threads, scratch, self._niceness)
        return self._crew

    def add_norm(self, tape: Tape, weight: Tensor, source: np.ndarray, target: np.ndarray, count: Count) -> None:
        """Appends the norm of all rows."""
        words = (
            source.ctypes.data,
            source.strides[0],
            weight.data_ptr(),
            target.ctypes.data,
            target.strides[0],
            self.shape.hidden,
            self._epsilon,
            0,
        )
        tape.add("norm", words, count)

    def add_linear(
        self, tape: Tape, name: str, epilogue: Epilogue, source: np.ndarray, target: np.ndarray, rows: Words
    ) -> Words:
        """Appends a linear layer; `rows` is the word with the number of rows."""
        matrix, layout = self._packed.matrices[name], self._packed.formats[name]
        words = (
            source.ctypes.data,
            source.strides[0],
            matrix.ctypes.data,
            target.ctypes.data,
            target.strides[0],
            matrix.shape[1] * GROUP,
            rows.ctypes.data,
            epilogue,
        )
        return tape.add(f"linear_{layout.name}", words, Count.FIXED, len(matrix), name.rpartition(".")[2])

    def layer_addresses(self, layer: int) -> tuple[int, int, int]:
        """Returns where a layer's bias and the norms of its q and k stand; 0 for none."""
        weights = self._weights.layers[layer]
        parts = (weights.qkv_bias, weights.q_norm, weights.k_norm)
        first, second, third = (part.data_ptr() if part is not None else 0 for part in parts)
        return first, second, third

    @property
    def parts(self) -> tuple[Weights, PackedWeights, Heads, Tensor, Tensor, int]:
        """What the operations of a pass are made from."""
        return self._weights, self._packed, self._heads, self._cos, self._sin, self._epsilon


class _Pass:
    """The layers' operations for steps of up to a number of rows."""

    def __init__(self, model: NativeLlama, tables: SpanTables, kv: KVCache) -> None:
        weights, _, heads, cos, sin, epsilon = model.parts
        shape = model.shape
        self._embedding, self._heads, self._kv_address = weights.embedding, heads, kv.slots.data_ptr()
        self._rows = max(GROUP, len(tables.ids))
        self._lines = {
            Count.SINGLE: max(GROUP, len(tables.single)),
            Count.TURN: int(_PACK_ROOM * len(tables.turn)) + 1,
            Count.SEVERAL: int(_PACK_ROOM * len(tables.several)) + 1,
        }
        self._turned = aligned(int(4 * _PACK_ROOM * tables.turned) + 64).view(np.float32)
        self._states = floats(self._rows, shape.hidden)
        self._view = torch.from_numpy(self._states)
        h, out = floats(self._rows, shape.hidden), floats(self._rows, shape.q_rows)
        qkv, ffn = floats(self._rows, shape.q_rows + 2 * shape.kv_rows), floats(self._rows, shape.ffn)
        self._positions, self._places = table(1, self._rows)[0], table(1, self._rows)[0]
        self._single = table(self._lines[Count.SINGLE], 3)
        self._turn, self._several = table(self._lines[Count.TURN], 5), table(self._lines[Count.SEVERAL], 6)
        self._count = np.zeros(1, dtype=np.int64)
        self._held = (h, out, qkv, ffn, model)
        head_bytes = kv.slots.stride(2) * kv.slots.element_size()
        x, tape = self._states, Tape(model.program)
        for index, layer in enumerate(weights.layers):
            keys, values = kv.slots[index, 0].data_ptr(), kv.slots[index, 1].data_ptr()
            rows, row_bytes = qkv.ctypes.data, qkv.strides[0]
            bias, q_norm, k_norm = model.layer_addresses(index)
            model.add_norm(tape, layer.attn_norm, x, h, Count.ROWS)
            model.add_linear(tape, f"layers.{index}.qkv", Epilogue.STORE, h, qkv, self._count)
            angles = (cos.data_ptr(), sin.data_ptr())
            tokens = (self._positions.ctypes.data, self._places.ctypes.data)
            own = (bias, q_norm, k_norm, epsilon)
            tape.add("rope", (rows, row_bytes, *tokens, *angles, keys, values, head_bytes, *own), Count.ROWS)
            target = (out.ctypes.data, out.strides[0])
            single = (rows, row_bytes, keys, values, head_bytes, *target, self._single.ctypes.data)
            tape.add("attend_single", single, Count.SINGLE, name="attention")
            tape.add("turn", (keys, values, head_bytes, self._turn.ctypes.data), Count.TURN, name="attention")
            tape.add(
                "attend_several", (rows, row_bytes, *target, self._several.ctypes.data), Count.SEVERAL, name="attention"
            )
            model.add_linear(tape, f"layers.{index}.o", Epilogue.ADD, out, x, self._count)
            model.add_norm(tape, layer.ffn_norm, x, h, Count.ROWS)
            model.add_linear(tape, f"layers.{index}.gate_up", Epilogue.GATE, h, ffn, self._count)
            model.add_linear(tape, f"layers.{index}.down", Epilogue.ADD, ffn, x, self._count)
        tape.finish()
        self.tape = tape

    def fits(self, tables: SpanTables, kv: KVCache) -> bool:
        """Returns whether a step has room here."""
        return (
            kv.slots.data_ptr() == self._kv_address
            and len(tables.ids) <= self._rows
            and len(tables.single) <= self._lines[Count.SINGLE]
            and len(tables.turn) <= self._lines[Count.TURN]
            and len(tables.several) <= self._lines[Count.SEVERAL]
            and tables.turned <= len(self._turned)
        )

    def run(self, tables: SpanTables, crew: Crew, clock: Words | None = None) -> Tensor:
        """Computes a step; returns the states of all tokens, [tokens, hidden], valid until the next step."""
        rows = len(tables.ids)
        states = self._view[:rows]
        torch.index_select(self._embedding, 0, torch.tensor(tables.ids), out=states)
        self._positions[:rows], self._places[:rows] = tables.positions, tables.places
        self._count[0] = rows
        base = self._turned.ctypes.data
        if tables.single:
            self._single[: len(tables.single)] = tables.single
        if tables.turn:
            self._turn[: len(tables.turn)] = tables.turn
            self._turn[: len(tables.turn), 3:] = base + 4 * self._turn[: len(tables.turn), 3:]
            self._several[: len(tables.several)] = tables.several
            self._several[: len(tables.several), 4:] = base + 4 * self._several[: len(tables.several), 4:]
        self.tape.set_tiles(Count.ROWS, rows)
        self.tape.set_tiles(Count.SINGLE, len(tables.single) * self._heads.keys)
        self.tape.set_tiles(Count.TURN, len(tables.turn))
        self.tape.set_tiles(Count.SEVERAL, len(tables.several))
        crew.run(self.tape.operations, clock)
        return states


class _Head:
    """The last norm and the head, for up to a number of rows."""

    def __init__(self, model: NativeLlama, capacity: int) -> None:
        weights = model.parts[0]
        self.capacity = capacity
        self._vocab = model.shape.vocab
        panels = len(model.parts[1].matrices["lm_head"])
        self._states, h = floats(capacity, model.shape.hidden), floats(capacity, model.shape.hidden)
        self._count = np.zeros(1, dtype=np.int64)
        self._width = panels * PANEL
        self._tape = Tape(model.program)
        model.add_norm(self._tape, weights.norm, self._states, h, Count.ROWS)
        nothing = floats(1, self._width)
        self._words = model.add_linear(self._tape, "lm_head", Epilogue.STORE, h, nothing, self._count)
        self._held = (h, nothing)
        self._tape.finish()

    def run(self, states: Tensor, crew: Crew) -> Tensor:
        """Returns the logits of states [rows, hidden], in memory of their own."""
        rows = len(states)
        torch.from_numpy(self._states)[:rows] = states
        found = torch.empty((rows, self._width))
        self._words[3], self._words[4] = found.data_ptr(), 4 * self._width
        self._count[0] = rows
        self._tape.set_tiles(Count.ROWS, rows)
        crew.run(self._tape.operations)
        return found[:, : self._vocab]
