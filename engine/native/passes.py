"""A forward pass and the head as lists of operations, and the memory that they work in.

The lists are made once for steps of up to a size; a step fills in its tables. The executor calls these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kv import KVCache
from ..model.shape import ModelShape
from ..model.weights import Weights
from .crew import Crew, Words
from .formats import GROUP, PANEL
from .levels import row_bytes
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


@dataclass(frozen=True, slots=True)
class Rows:
    """Activations.

    Attributes:
        floats: [rows, width].
        blocks: bytes [rows, bytes of a row], the first rows as `levels` has them; None where nobody reads them so.
    """

    floats: Matrix
    blocks: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What the tiles of a layer's operations are counted by."""

    dots: Count
    floats: Count
    any_dots: Count
    any_floats: Count
    single: Count
    turn: Count
    several: Count

    def set(self, tape: Tape, about: Words, rows: int, dots: int) -> None:
        """Sets how many rows there are, and that the first `dots` of them are multiplied as bytes."""
        about[:] = dots, rows - dots
        for count, number in ((self.dots, dots), (self.floats, rows - dots)):
            tape.set_count(count, number)
        for count, number in ((self.any_dots, dots), (self.any_floats, rows - dots)):
            tape.set_count(count, int(number > 0))


_LAYER = Counts(Count.DOTS, Count.FLOATS, Count.ANY_DOTS, Count.ANY_FLOATS, Count.SINGLE, Count.TURN, Count.SEVERAL)
_LAST = Counts(
    Count.LAST_DOTS,
    Count.LAST_FLOATS,
    Count.LAST_ANY_DOTS,
    Count.LAST_ANY_FLOATS,
    Count.LAST_SINGLE,
    Count.LAST_TURN,
    Count.LAST_SEVERAL,
)


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
        self._zero = table(1, 1)[0]

    def add_norm(self, tape: Tape, weight: Tensor, source: Matrix, target: Rows, about: Words, counts: Counts) -> None:
        """Appends the norm of all rows."""
        origin = (source.ctypes.data, source.strides[0], weight.data_ptr())
        for function, matrix, count, first in (
            ("norm", target.floats, counts.floats, about),
            ("norm_single", target.blocks, counts.dots, self._zero),
        ):
            if matrix is not None:
                place = (matrix.ctypes.data, matrix.strides[0])
                words = (*origin, *place, self.shape.hidden, self.epsilon, first.ctypes.data)
                tape.add(function, words, count, name="norm")

    def add_linear(
        self, tape: Tape, name: str, epilogue: Epilogue, source: Rows, target: Rows, about: Words, counts: Counts
    ) -> list[Words]:
        """Appends a linear layer of all rows; returns the words of its operations, of which 3 and 4 are the target."""
        matrix, layout = self.packed.matrices[name], self.packed.formats[name]
        panels, shown = len(matrix), name.rpartition(".")[2]
        floats = target.floats
        rest = (matrix.ctypes.data, floats.ctypes.data, floats.strides[0], matrix.shape[1] * GROUP, about.ctypes.data)
        words = (source.floats.ctypes.data, source.floats.strides[0], *rest, epilogue)
        added = [tape.add(f"linear_{layout.name}", words, counts.any_floats, panels, shown)]
        if source.blocks is not None:
            words = (source.blocks.ctypes.data, source.blocks.strides[0], *rest, epilogue)
            tiles = panels
            if epilogue is Epilogue.GATE:
                assert target.blocks is not None and panels % 2 == 0
                words = (*words, target.blocks.ctypes.data, target.blocks.strides[0])
                tiles = panels // 2
            added.append(tape.add(f"dots_{layout.name}", words, counts.any_dots, tiles, shown))
        return added

    def rows(self, count: int, decoding: int, width: int) -> Rows:
        """Returns memory for `count` rows that linear layers read; up to `decoding` of them become bytes."""
        blocks = aligned(decoding * row_bytes(width)).reshape(decoding, -1) if self.library.has_dots else None
        return Rows(floats(count, width), blocks)

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
        decoding = self._lines[Count.SINGLE]
        self._x, self._qkv = Rows(floats(rows, shape.hidden)), Rows(floats(rows, width))
        self._h = parts.rows(rows, decoding, shape.hidden)
        self._out, self._ffn = parts.rows(rows, decoding, shape.q_rows), parts.rows(rows, decoding, shape.ffn)
        self._last_x, self._last_q = Rows(floats(self._kept, shape.hidden)), Rows(floats(self._kept, shape.q_rows))
        self._last_states = torch.from_numpy(self._last_x.floats)
        self._ids, self._positions, self._places = (table(1, rows)[0] for _ in range(3))
        self._index = table(1, self._kept)[0]
        self._single, self._last_single = table(self._lines[Count.SINGLE], 3), table(self._lines[Count.SINGLE], 3)
        self._turn = table(self._lines[Count.TURN], 5)
        self._several = table(self._lines[Count.SEVERAL], 6)
        self._last_several = table(self._lines[Count.LAST_SEVERAL], 6)
        # How many rows are multiplied as bytes, which is the number of the first row in floats, and how many those are.
        self._about, self._last_about = table(1, 2)[0], table(1, 2)[0]
        self.tape = Tape(parts.library)
        embedding = parts.weights.embedding
        assert embedding.dtype is torch.float32 and embedding.is_contiguous()
        whence = (embedding.data_ptr(), embedding.stride(0) * embedding.element_size())
        self._add_gather(whence, self._x.floats, self._ids, Count.ROWS, "embedding")
        for layer in range(shape.layers):
            self._add_layer(layer, kv, is_last=layer == shape.layers - 1)
        self.tape.finish()

    def _add_layer(self, layer: int, kv: KVCache, *, is_last: bool) -> None:
        """Appends a layer; of the last one, all but its KV is computed for the kept rows alone."""
        parts, tape, name = self._parts, self.tape, f"layers.{layer}."
        weights = parts.weights.layers[layer]
        about, counts = self._about, _LAYER
        parts.add_norm(tape, weights.attn_norm, self._x.floats, self._h, about, counts)
        parts.add_linear(tape, name + "qkv", Epilogue.STORE, self._h, self._qkv, about, counts)
        keys, values, step = parts.add_rope(tape, layer, self._qkv.floats, (self._positions, self._places), kv)
        x, q, single, several = self._x, self._qkv, self._single, self._several
        if is_last:
            x, q, single, several = self._last_x, self._last_q, self._last_single, self._last_several
            about, counts = self._last_about, _LAST
            for whence, target in ((self._x.floats, x.floats), (self._qkv.floats, q.floats)):
                place = (whence.ctypes.data, whence.strides[0])
                self._add_gather(place, target, self._index, Count.LAST_ROWS, "gather")
        source = (q.floats.ctypes.data, q.floats.strides[0])
        out = self._out.floats
        target = (out.ctypes.data, out.strides[0])
        decoded = out if self._out.blocks is None else self._out.blocks
        words = (*source, keys, values, step, decoded.ctypes.data, decoded.strides[0], single.ctypes.data)
        tape.add("attend_single", words, counts.single, parts.heads.keys, name="attention")
        tape.add("turn", (keys, values, step, self._turn.ctypes.data), counts.turn, name="attention")
        tape.add("attend_several", (*source, *target, several.ctypes.data), counts.several, name="attention")
        parts.add_linear(tape, name + "o", Epilogue.ADD, self._out, x, about, counts)
        parts.add_norm(tape, weights.ffn_norm, x.floats, self._h, about, counts)
        parts.add_linear(tape, name + "gate_up", Epilogue.GATE, self._h, self._ffn, about, counts)
        parts.add_linear(tape, name + "down", Epilogue.ADD, self._ffn, x, about, counts)

    def _add_gather(self, source: tuple[int, int], target: Matrix, index: Words, count: Count, name: str) -> None:
        """Appends the copying of some rows of a matrix, which is its address and the bytes from row to row."""
        words = (*source, target.ctypes.data, target.strides[0], target.strides[0], index.ctypes.data)
        self.tape.add("gather", words, count, name=name)

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
        rows, kept = len(tables.ids), len(tables.kept)
        if min(tables.ids) < 0 or max(tables.ids) >= self._parts.shape.vocab:
            raise IndexError(f"token ids are 0 to {self._parts.shape.vocab - 1}; one of {tables.ids} is not")
        # Native code looks the ids up: torch would let go of the interpreter, which another thread then keeps.
        self._ids[:rows], self._positions[:rows], self._places[:rows] = tables.ids, tables.positions, tables.places
        self._index[:kept] = tables.kept
        _fill(self._single, tables.single)
        _fill(self._last_single, tables.last_single)
        base = self._turned.ctypes.data
        _fill(self._turn, tables.turn, base)
        _fill(self._several, tables.several, base)
        _fill(self._last_several, tables.last_several, base)
        self.tape.set_count(Count.ROWS, rows)
        self.tape.set_count(Count.LAST_ROWS, kept)
        turns = len(tables.turn) if tables.last_several else 0
        self._set(_LAYER, self._about, rows, len(tables.single), len(tables.turn), len(tables.several))
        self._set(_LAST, self._last_about, kept, len(tables.last_single), turns, len(tables.last_several))
        crew.run(self.tape.operations, clock)
        return self._last_states[:kept]

    def _set(self, counts: Counts, about: Words, rows: int, single: int, turn: int, several: int) -> None:
        counts.set(self.tape, about, rows, single if self._parts.library.has_dots else 0)
        for count, number in ((counts.single, single), (counts.turn, turn), (counts.several, several)):
            self.tape.set_count(count, number)


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
        self._vocab, self._has_dots = parts.shape.vocab, parts.library.has_dots
        self._width = len(parts.packed.matrices["lm_head"]) * PANEL
        self._x, self._h = floats(capacity, parts.shape.hidden), parts.rows(capacity, capacity, parts.shape.hidden)
        self._about = table(1, 2)[0]
        self._tape = Tape(parts.library)
        parts.add_norm(self._tape, parts.weights.norm, self._x, self._h, self._about, _LAYER)
        nothing = Rows(floats(1, self._width))
        self._words = parts.add_linear(self._tape, "lm_head", Epilogue.STORE, self._h, nothing, self._about, _LAYER)
        self._tape.finish()

    def run(self, states: Tensor, decoding: int, crew: Crew) -> Tensor:
        """Returns the logits of states [rows, hidden], the first `decoding` of such spans; their memory is new."""
        rows = len(states)
        torch.from_numpy(self._x)[:rows] = states
        found = torch.empty((rows, self._width))
        for words in self._words:
            words[3], words[4] = found.data_ptr(), 4 * self._width
        _LAYER.set(self._tape, self._about, rows, decoding if self._has_dots else 0)
        crew.run(self._tape.operations)
        return found[:, : self._vocab]
