"""How weights of linear layers are laid out for the kernels, and how a kernel reads them back as floats.

A matrix [out, in] is cut into panels of 32 outputs, a panel into groups of 32 inputs; a group is a header with the
scales of its 32 outputs, then the numbers, so that a kernel reads one stream. Lane n of a vector is output n.

    int4: w = q * d + m, q in 0..15.   d[32] f16, m[32] f16, then for each half of the outputs four vectors of words:
          bits 4i..4i+3 of word n of vector v are q of input 8v + i.                                      640 B a group
    int8: w = q * d, q in -127..127.   d[32] f16, then for each input 32 bytes.                          1,088 B a group

Both are grids that GGUF files use (Q4_1 and Q8_0 of ggml), so such files lose nothing. Numbers become floats by one
operation of a fixed order, hence a weight has the same bits whichever kernel reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .code import BYTE, FLOAT, HALF, INT, LANES, VECTOR, Code, vector_of

__all__ = ["FORMATS", "GROUP", "INT4", "INT8", "PANEL", "Format", "pack", "unpack"]

GROUP = 32
"""Inputs that share a scale."""

PANEL = 2 * LANES
"""Outputs of a panel."""

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Format:
    """One layout.

    Attributes:
        group_bytes: of 32 inputs of 32 outputs.
        encode: packs [groups, 32 outputs, 32 inputs] floats, returns [groups, group_bytes].
        decode: the reverse.
        begin: writes code that reads a group's header.
        weights: writes code that returns the two vectors of input k of the group.
    """

    name: str
    group_bytes: int
    encode: Callable[[Floats], Bytes]
    decode: Callable[[Bytes], Floats]
    begin: Callable[[Code, Any], Any]
    weights: Callable[[Code, Any, Any, int], tuple[Any, Any]]


def pack(weight: Floats, layout: Format) -> Bytes:
    """Returns a matrix [out, in] in a layout; outputs are filled up with zeros to whole panels.

    Args:
        weight: `in` must be a multiple of GROUP.

    Returns:
        bytes [panels, groups, group_bytes].
    """
    rows, inputs = weight.shape
    panels = -(-rows // PANEL)
    padded = np.zeros((panels * PANEL, inputs), dtype=np.float32)
    padded[:rows] = weight
    grouped = padded.reshape(panels, PANEL, inputs // GROUP, GROUP).swapaxes(1, 2)
    flat = np.ascontiguousarray(grouped).reshape(-1, PANEL, GROUP)
    return layout.encode(flat).reshape(panels, inputs // GROUP, layout.group_bytes)


def unpack(packed: Bytes, layout: Format, rows: int) -> Floats:
    """Returns the matrix [rows, in] that a packed one stands for."""
    panels, groups, _ = packed.shape
    grouped = layout.decode(packed.reshape(-1, layout.group_bytes)).reshape(panels, groups, PANEL, GROUP)
    return grouped.swapaxes(1, 2).reshape(panels * PANEL, groups * GROUP)[:rows]


def _encode_int4(groups: Floats) -> Bytes:
    least, most = groups.min(axis=2), groups.max(axis=2)  # [groups, outputs]
    scale = ((most - least) / 15).astype(np.float16)
    low = least.astype(np.float16)
    step = scale.astype(np.float32)[:, :, None]
    steps = np.divide(groups - low.astype(np.float32)[:, :, None], step, out=np.zeros_like(groups), where=step > 0)
    numbers = np.clip(np.rint(steps), 0, 15).astype(np.uint32)  # [groups, outputs, inputs]
    nibbles = numbers.reshape(-1, 2, LANES, 4, 8)  # [groups, half, output, vector, nibble]
    words = (nibbles << np.arange(0, 32, 4, dtype=np.uint32)).sum(axis=4, dtype=np.uint32).swapaxes(2, 3)
    parts = (scale.view(np.uint8), low.view(np.uint8), np.ascontiguousarray(words).view(np.uint8))
    return np.concatenate([part.reshape(len(groups), -1) for part in parts], axis=1)


def _decode_int4(packed: Bytes) -> Floats:
    halves = np.ascontiguousarray(packed[:, :128]).view(np.float16).astype(np.float32)  # [groups, d | m]
    words = np.ascontiguousarray(packed[:, 128:]).view(np.uint32).reshape(-1, 2, 4, LANES)
    nibbles = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15  # [groups, half, vector, output, nibble]
    numbers = nibbles.swapaxes(2, 3).reshape(-1, PANEL, GROUP).astype(np.float32)
    return numbers * halves[:, :PANEL, None] + halves[:, PANEL:, None]


def _begin_int4(code: Code, group: Any) -> Any:
    header = []
    for half in range(2):
        scale = code.build.fpext(code.load(code.at(group, 32 * half), vector_of(HALF), align=2), VECTOR)
        low = code.build.fpext(code.load(code.at(group, 64 + 32 * half), vector_of(HALF), align=2), VECTOR)
        # A number becomes a float by putting it into the mantissa of 1: 1 + q / 16, so w = that * 16 d + (m - 16 d).
        sixteen = code.build.fmul(scale, code.floats(16.0))
        header.append((sixteen, code.build.fsub(low, sixteen)))
    return header


def _weights_int4(code: Code, group: Any, header: Any, k: int) -> tuple[Any, Any]:
    found = []
    word, place = divmod(k, 8)
    for half in range(2):
        offset = 128 + 256 * half + 64 * word
        bits = code.load(code.at(group, offset), vector_of(INT))
        shift = 4 * place - 19  # to the top of the mantissa
        if shift < 0:
            bits = code.build.shl(bits, code.ints(-shift))
        elif shift > 0:
            bits = code.build.lshr(bits, code.ints(shift))
        bits = code.build.or_(code.build.and_(bits, code.ints(15 << 19)), code.ints(0x3F800000))
        sixteen, low = header[half]
        found.append(code.fma(code.build.bitcast(bits, VECTOR), sixteen, low))
    return found[0], found[1]


def _encode_int8(groups: Floats) -> Bytes:
    scale = (np.abs(groups).max(axis=2) / 127).astype(np.float16)
    step = scale.astype(np.float32)[:, :, None]
    steps = np.divide(groups, step, out=np.zeros_like(groups), where=step > 0)
    numbers = np.clip(np.rint(steps), -127, 127).astype(np.int8).swapaxes(1, 2)  # [groups, inputs, outputs]
    parts = (scale.view(np.uint8), np.ascontiguousarray(numbers).view(np.uint8))
    return np.concatenate([part.reshape(len(groups), -1) for part in parts], axis=1)


def _decode_int8(packed: Bytes) -> Floats:
    scale = np.ascontiguousarray(packed[:, :64]).view(np.float16).astype(np.float32)
    numbers = np.ascontiguousarray(packed[:, 64:]).view(np.int8).reshape(-1, GROUP, PANEL).swapaxes(1, 2)
    return numbers.astype(np.float32) * scale[:, :, None]


def _begin_int8(code: Code, group: Any) -> Any:
    return [
        code.build.fpext(code.load(code.at(group, 32 * half), vector_of(HALF), align=2), VECTOR) for half in range(2)
    ]


def _weights_int8(code: Code, group: Any, header: Any, k: int) -> tuple[Any, Any]:
    found = []
    for half in range(2):
        numbers = code.load(code.at(group, 64 + 32 * k + 16 * half), vector_of(BYTE), align=1)
        whole = code.build.sitofp(code.build.sext(numbers, vector_of(INT)), vector_of(FLOAT))
        found.append(code.build.fmul(whole, header[half]))
    return found[0], found[1]


INT4 = Format("int4-g32", 640, _encode_int4, _decode_int4, _begin_int4, _weights_int4)
INT8 = Format("int8-g32", 1088, _encode_int8, _decode_int8, _begin_int8, _weights_int8)
FORMATS = {layout.name: layout for layout in (INT4, INT8)}
