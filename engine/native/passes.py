"""A forward pass and the head as lists of operations, and the memory that they work in.

The lists are made once for steps of up to a size; a step fills in its tables. The executor calls these.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..kv import KVCache
from ..model.shape import ModelShape
from ..model.weights import Weights
from .crew import Crew, Words
from .formats import GROUP, PANEL
from .library import Library
from .linear import Epilogue
from .memory import aligned
from .packing import PackedWeights
from .rows import Heads
from .spans import SpanTables
from .tape import Count, Tape, floats, table

__all__ = ["Head", "Parts", "Pass"]

# Tables grow with a prompt's chunks: room for more of them spares making the lists again for each.
_ROOM = 1.5

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Parts:
    """What operations are made from: the model's weights, and the kernels.

    Attributes:
        cos: rope's cosines, [positions, head_dim / 2]; `sin` its sines.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        packed: PackedWeights,
        library: Library,
        heads: Heads,
        angles: tuple[Tensor, Tensor],
    ) -> None:
        self.shape, self.weights, self.packed, self.library, self.heads = shape, weights, packed, library, heads
        self.cos, self.sin = (angle.contiguous() for angle in angles)
        self.epsilon = int(np.float32(shape.rms_eps).view(np.int32))

    def add_norm(self, tape: Tape, weight: Tensor, source: Matrix, target: Matrix, count: Count) -> None:
        """Appends the norm of all rows."""
        places = (source.ctypes.data, source.strides[0], weight.data_ptr(), target.ctypes.data, target.strides[0])
        tape.add("norm", (*places, self.shape.hidden, self.epsilon), count)

    def add_linear(
        self, tape: Tape, name: str, epilogue: Epilogue, source: Matrix, target: Matrix, rows: Words
    ) -> Words:
        """Appends a linear layer; `rows` is the word with the number of rows."""
        matrix, layout = self.packed.matrices[name], self.packed.formats[name]
        places = (source.ctypes.data, source.strides[0], matrix.ctypes.data, target.ctypes.data, target.strides[0])
        words = (*places, matrix.shape[1] * GROUP, rows.ctypes.data, epilogue)
        return tape.add(f"linear_{layout.name}", words, Count.FIXED, len(matrix), name.rpartition(".")[2])

    def add_rope(
        self, tape: Tape, layer: int, qkv: Matrix, tokens: tuple[Words, Words], kv: KVCache
    ) -> tuple[int, int, int]:
        """Appends rope and the writing of KV; returns the addresses of the layer's K and V, and their head step."""
        weights = self.weights.layers[layer]
        optional = (weights.qkv_bias, weights.q_norm, weights.k_norm)
        own = (part.data_ptr() if part is not None else 0 for part in optional)
        keys, values = kv.slots[layer, 0].data_ptr(), kv.slots[layer, 1].data_ptr()
        step = kv.slots.stride(2) * kv.slots.element_size()
        places = (words.ctypes.data for words in tokens)
        angles = (self.cos.data_ptr(), self.sin.data_ptr())
        rows = (qkv.ctypes.data, qkv.strides[0])
        tape.add("rope", (*rows, *places, *angles, keys, values, step, *own, self.epsilon), Count.ROWS)
        return keys, values, step


class Pass:
    """The layers' operations for steps of up to a number of rows."""

    def __init__(self, parts: Parts, tables: SpanTables, kv: KVCache) -> None:
        shape = parts.shape
        self._parts, self._kv_address = parts, kv.slots.data_ptr()
        self._rows = max(GROUP, len(tables.ids))
        self._kept = max(GROUP, len(tables.kept))
        self._lines = {
            Count.SINGLE: max(GROUP, len(tables.single)),
            Count.TURN: int(_ROOM * len(tables.turn)) + 1,
            Count.SEVERAL: int(_ROOM * len(tables.several)) + 1,
            Count.LAST_SEVERAL: int(_ROOM * len(tables.last_several)) + 1,
        }
        self._turned = aligned(int(4 * _ROOM * tables.turned) + 64).view(np.float32)
        rows, width = self._rows, shape.q_rows + 2 * shape.kv_rows
        self._x, self._h = floats(rows, shape.hidden), floats(rows, shape.hidden)
        self._qkv, self._out, self._ffn = floats(rows, width), floats(rows, shape.q_rows), floats(rows, shape.ffn)
        self._last_x, self._last_q = floats(self._kept, shape.hidden), floats(self._kept, shape.q_rows)
        self._states, self._last_states = torch.from_numpy(self._x), torch.from_numpy(self._last_x)
        self._positions, self._places, self._index = (table(1, size)[0] for size in (rows, rows, self._kept))
        self._single, self._last_single = table(self._lines[Count.SINGLE], 3), table(self._lines[Count.SINGLE], 3)
        self._turn = table(self._lines[Count.TURN], 5)
        self._several = table(self._lines[Count.SEVERAL], 6)
        self._last_several = table(self._lines[Count.LAST_SEVERAL], 6)
        self._count, self._last_count = table(1, 1)[0], table(1, 1)[0]
        self.tape = Tape(parts.library)
        for layer in range(shape.layers):
            self._add_layer(layer, kv, is_last=layer == shape.layers - 1)
        self.tape.finish()

    def _add_layer(self, layer: int, kv: KVCache, *, is_last: bool) -> None:
        """Appends a layer; of the last one, all but its KV is computed for the kept rows alone."""
        parts, tape, name = self._parts, self.tape, f"layers.{layer}."
        weights = parts.weights.layers[layer]
        parts.add_norm(tape, weights.attn_norm, self._x, self._h, Count.ROWS)
        parts.add_linear(tape, name + "qkv", Epilogue.STORE, self._h, self._qkv, self._count)
        keys, values, step = parts.add_rope(tape, layer, self._qkv, (self._positions, self._places), kv)
        x, q, count = self._x, self._qkv, self._count
        rows, single_lines, turn_lines, several_lines = Count.ROWS, Count.SINGLE, Count.TURN, Count.SEVERAL
        single, several = self._single, self._several
        if is_last:
            x, q, count = self._last_x, self._last_q, self._last_count
            rows, single_lines = Count.LAST_ROWS, Count.LAST_SINGLE
            turn_lines, several_lines = Count.LAST_TURN, Count.LAST_SEVERAL
            single, several = self._last_single, self._last_several
            self._add_gather(self._x, x)
            self._add_gather(self._qkv, q)
        source, target = (q.ctypes.data, q.strides[0]), (self._out.ctypes.data, self._out.strides[0])
        words = (*source, keys, values, step, *target, single.ctypes.data)
        tape.add("attend_single", words, single_lines, name="attention")
        tape.add("turn", (keys, values, step, self._turn.ctypes.data), turn_lines, name="attention")
        tape.add("attend_several", (*source, *target, several.ctypes.data), several_lines, name="attention")
        parts.add_linear(tape, name + "o", Epilogue.ADD, self._out, x, count)
        parts.add_norm(tape, weights.ffn_norm, x, self._h, rows)
        parts.add_linear(tape, name + "gate_up", Epilogue.GATE, self._h, self._ffn, count)
        parts.add_linear(tape, name + "down", Epilogue.ADD, self._ffn, x, count)

    def _add_gather(self, source: Matrix, target: Matrix) -> None:
        places = (source.ctypes.data, source.strides[0], target.ctypes.data, target.strides[0])
        words = (*places, target.strides[0], self._index.ctypes.data)
        self.tape.add("gather", words, Count.LAST_ROWS, name="gather")

    def fits(self, tables: SpanTables, kv: KVCache) -> bool:
        """Returns whether a step has room here."""
        return (
            kv.slots.data_ptr() == self._kv_address
            and len(tables.ids) <= self._rows
            and len(tables.kept) <= self._kept
            and len(tables.single) <= self._lines[Count.SINGLE]
            and len(tables.turn) <= self._lines[Count.TURN]
            and len(tables.several) <= self._lines[Count.SEVERAL]
            and len(tables.last_several) <= self._lines[Count.LAST_SEVERAL]
            and tables.turned <= len(self._turned)
        )

    def run(self, tables: SpanTables, crew: Crew, clock: Words | None = None) -> Tensor:
        """Computes a step; returns the states of the kept tokens, [kept, hidden], valid until the next step."""
        rows, kept, key_heads = len(tables.ids), len(tables.kept), self._parts.heads.keys
        torch.index_select(self._parts.weights.embedding, 0, torch.tensor(tables.ids), out=self._states[:rows])
        self._positions[:rows], self._places[:rows] = tables.positions, tables.places
        self._index[:kept] = tables.kept
        self._count[0], self._last_count[0] = rows, kept
        _fill(self._single, tables.single)
        _fill(self._last_single, tables.last_single)
        base = self._turned.ctypes.data
        _fill(self._turn, tables.turn, base)
        _fill(self._several, tables.several, base)
        _fill(self._last_several, tables.last_several, base)
        for count, tiles in (
            (Count.ROWS, rows),
            (Count.SINGLE, len(tables.single) * key_heads),
            (Count.TURN, len(tables.turn)),
            (Count.SEVERAL, len(tables.several)),
            (Count.LAST_ROWS, kept),
            (Count.LAST_SINGLE, len(tables.last_single) * key_heads),
            (Count.LAST_TURN, len(tables.turn) if tables.last_several else 0),
            (Count.LAST_SEVERAL, len(tables.last_several)),
        ):
            self.tape.set_tiles(count, tiles)
        crew.run(self.tape.operations, clock)
        return self._last_states[:kept]


def _fill(target: Words, lines: list[tuple[int, ...]], base: int = 0) -> None:
    """Writes a table; with a base its last two columns are offsets in floats, and become addresses."""
    if lines:
        target[: len(lines)] = lines
        if base:
            target[: len(lines), -2:] = base + 4 * target[: len(lines), -2:]


class Head:
    """The last norm and the head, for up to a number of rows."""

    def __init__(self, parts: Parts, capacity: int) -> None:
        self.capacity = capacity
        self._vocab = parts.shape.vocab
        self._width = len(parts.packed.matrices["lm_head"]) * PANEL
        self._x, self._h = floats(capacity, parts.shape.hidden), floats(capacity, parts.shape.hidden)
        self._count = table(1, 1)[0]
        self._tape = Tape(parts.library)
        parts.add_norm(self._tape, parts.weights.norm, self._x, self._h, Count.ROWS)
        self._nothing = floats(1, self._width)
        self._words = parts.add_linear(self._tape, "lm_head", Epilogue.STORE, self._h, self._nothing, self._count)
        self._tape.finish()

    def run(self, states: Tensor, crew: Crew) -> Tensor:
        """Returns the logits of states [rows, hidden], in memory of their own."""
        rows = len(states)
        torch.from_numpy(self._x)[:rows] = states
        found = torch.empty((rows, self._width))
        self._words[3], self._words[4] = found.data_ptr(), 4 * self._width
        self._count[0] = rows
        self._tape.set_tiles(Count.ROWS, rows)
        crew.run(self._tape.operations)
        return found[:, : self._vocab]
