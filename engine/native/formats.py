"""How weights of linear layers are laid out for the kernels, and how a kernel reads them back as floats.

A matrix [out, in] is cut into panels of 32 outputs, a panel into groups of 32 inputs; a group is a header with the
scales of its 32 outputs, then the numbers, so that a kernel reads one stream. Lane n of a vector is output n.

    int4: w = q * d + m, q in 0..15.   d[32] f16, m[32] f16, then for each half of the outputs four vectors of words:
          byte b of word n of vector v has q of input 8v + b in its lower half, of 8v + 4 + b in its upper.
                                                                                                          640 B a group
    int8: w = q * d, q in -127..127.   d[32] f16, then for each half of the outputs eight vectors of words: byte b of
          word n of vector v is q + 128 of input 4v + b.                                               1,088 B a group

Both are grids that GGUF files use (Q4_1 and Q8_0 of ggml), so such files lose nothing. Numbers become floats by one
operation of a fixed order, hence a weight has the same bits whichever kernel reads it. Four neighbouring inputs of an
output stand in one lane, as the processors' products of bytes want them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .code import HALF, INT, LANES, VECTOR, Code, vector_of

__all__ = ["FORMATS", "GROUP", "INT4", "INT8", "PANEL", "Format", "pack", "unpack"]

GROUP = 32
"""Inputs that share a scale."""

PANEL = 2 * LANES
"""Outputs of a panel."""

_ZERO = 128

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
        quads: writes code that returns, for half the outputs, eight vectors of words: byte b of word n of vector v is
            the number of input 4v + b, without a sign.
        scales: writes code that returns scale and offset of half the outputs: what a number is multiplied by, and what
            is added then; None where that is `-zero` times the scale.
        zero: the number that stands for 0 where there is no offset.
    """

    name: str
    group_bytes: int
    encode: Callable[[Floats], Bytes]
    decode: Callable[[Bytes], Floats]
    begin: Callable[[Code, Any], Any]
    weights: Callable[[Code, Any, Any, int], tuple[Any, Any]]
    quads: Callable[[Code, Any, int], list[Any]]
    scales: Callable[[Code, Any, int], tuple[Any, Any | None]]
    zero: int = 0


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
    numbers = np.clip(np.rint(steps), 0, 15).astype(np.uint8)  # [groups, outputs, inputs]
    halves = numbers.reshape(-1, 2, LANES, 4, 2, 4)  # [groups, half, output, vector, part, byte]
    packed = (halves[..., 0, :] | halves[..., 1, :] << np.uint8(4)).swapaxes(2, 3)
    parts = (scale.view(np.uint8), low.view(np.uint8), np.ascontiguousarray(packed))
    return np.concatenate([part.reshape(len(groups), -1) for part in parts], axis=1)


def _decode_int4(packed: Bytes) -> Floats:
    halves = np.ascontiguousarray(packed[:, :128]).view(np.float16).astype(np.float32)  # [groups, d | m]
    both = packed[:, 128:].reshape(-1, 2, 4, LANES, 4).swapaxes(2, 3)  # [groups, half, output, vector, byte]
    numbers = np.stack((both & 15, both >> 4), axis=4).reshape(-1, PANEL, GROUP).astype(np.float32)
    return numbers * halves[:, :PANEL, None] + halves[:, PANEL:, None]


def _floats(code: Code, header: Any) -> Any:
    """Returns the 16 floats that stand at an address as halves."""
    return code.build.fpext(code.load(header, vector_of(HALF), align=2), VECTOR)


def _scales_int4(code: Code, group: Any, half: int) -> tuple[Any, Any]:
    return _floats(code, code.at(group, 32 * half)), _floats(code, code.at(group, 64 + 32 * half))


def _begin_int4(code: Code, group: Any) -> Any:
    header = []
    for half in range(2):
        scale, low = _scales_int4(code, group, half)
        # A number becomes a float by putting it into the mantissa of 1: 1 + q / 16, so w = that * 16 d + (m - 16 d).
        sixteen = code.build.fmul(scale, code.floats(16.0))
        header.append((sixteen, code.build.fsub(low, sixteen)))
    return header


def _weights_int4(code: Code, group: Any, header: Any, k: int) -> tuple[Any, Any]:
    found = []
    word, place = divmod(k, 8)
    upper, byte = divmod(place, 4)
    for half in range(2):
        offset = 128 + 256 * half + 64 * word
        bits = code.load(code.at(group, offset), vector_of(INT))
        shift = 8 * byte + 4 * upper - 19  # to the top of the mantissa
        if shift < 0:
            bits = code.build.shl(bits, code.ints(-shift))
        elif shift > 0:
            bits = code.build.lshr(bits, code.ints(shift))
        bits = code.build.or_(code.build.and_(bits, code.ints(15 << 19)), code.ints(0x3F800000))
        sixteen, low = header[half]
        found.append(code.fma(code.build.bitcast(bits, VECTOR), sixteen, low))
    return found[0], found[1]


def _quads_int4(code: Code, group: Any, half: int) -> list[Any]:
    words = [code.load(code.at(group, 128 + 256 * half + 64 * word), vector_of(INT)) for word in range(4)]
    parts = [part for both in words for part in (both, code.build.lshr(both, code.ints(4)))]
    return [code.build.and_(part, code.ints(0x0F0F0F0F)) for part in parts]


def _encode_int8(groups: Floats) -> Bytes:
    scale = (np.abs(groups).max(axis=2) / 127).astype(np.float16)
    step = scale.astype(np.float32)[:, :, None]
    steps = np.divide(groups, step, out=np.zeros_like(groups), where=step > 0)
    numbers = (np.clip(np.rint(steps), -127, 127) + _ZERO).astype(np.uint8)  # [groups, outputs, inputs]
    words = numbers.reshape(-1, 2, LANES, GROUP // 4, 4).swapaxes(2, 3)  # [groups, half, vector, output, byte]
    parts = (scale.view(np.uint8), np.ascontiguousarray(words))
    return np.concatenate([part.reshape(len(groups), -1) for part in parts], axis=1)


def _decode_int8(packed: Bytes) -> Floats:
    scale = np.ascontiguousarray(packed[:, :64]).view(np.float16).astype(np.float32)
    numbers = packed[:, 64:].reshape(-1, 2, GROUP // 4, LANES, 4).swapaxes(2, 3).reshape(-1, PANEL, GROUP)
    return (numbers.astype(np.float32) - _ZERO) * scale[:, :, None]


def _scales_int8(code: Code, group: Any, half: int) -> tuple[Any, None]:
    return _floats(code, code.at(group, 32 * half)), None


def _begin_int8(code: Code, group: Any) -> Any:
    return [_scales_int8(code, group, half)[0] for half in range(2)]


def _weights_int8(code: Code, group: Any, header: Any, k: int) -> tuple[Any, Any]:
    found = []
    word, byte = divmod(k, 4)
    for half in range(2):
        bits = code.load(code.at(group, 64 + 512 * half + 64 * word), vector_of(INT))
        if byte:
            bits = code.build.lshr(bits, code.ints(8 * byte))
        # Put into the lowest bits of 2^23 a number is that many more.
        bits = code.build.or_(code.build.and_(bits, code.ints(255)), code.ints(0x4B000000))
        whole = code.build.fsub(code.build.bitcast(bits, VECTOR), code.floats(float(2**23 + _ZERO)))
        found.append(code.build.fmul(whole, header[half]))
    return found[0], found[1]


def _quads_int8(code: Code, group: Any, half: int) -> list[Any]:
    return [code.load(code.at(group, 64 + 512 * half + 64 * word), vector_of(INT)) for word in range(GROUP // 4)]


INT4 = Format("int4-g32", 640, _encode_int4, _decode_int4, _begin_int4, _weights_int4, _quads_int4, _scales_int4)
INT8 = Format(
    "int8-g32", 1088, _encode_int8, _decode_int8, _begin_int8, _weights_int8, _quads_int8, _scales_int8, _ZERO
)
FORMATS = {layout.name: layout for layout in (INT4, INT8)}
