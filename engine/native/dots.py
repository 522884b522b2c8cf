"""Kernels of linear layers for decoding tokens: products of bytes, added up as whole numbers.

y = x W^T with x in the blocks of `levels` and W packed as `formats` says: what a group of 32 inputs adds is a whole
number, exact, which is scaled in float32. The groups of a row are added in their order, so a row has the same bits
whatever its neighbours are, and however many there are. Needs an instruction for it; `Machine.dot_lanes` says whether.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from .code import FLOAT, INT, LANES, LONG, POINTER, VECTOR, Code, vector_of
from .formats import GROUP, PANEL, Format
from .levels import BLOCK_BYTES, HIGH, LEAST, LOW, SCALE, SHIFT, SUM, write_group
from .linear import Epilogue, finish, in_blocks

__all__ = ["write_dots"]

_ROWS = (8, 4, 2, 1)
_STEP = 4 * LANES


def _dot(code: Code, lanes: int, total: Any, numbers: Any, signed: Any) -> Any:
    """Returns total plus, in each lane, the sum of four products of a byte without a sign and one with."""
    build, module = code.build, code.function.module
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    part = ir.VectorType(INT, lanes)
    intrinsic = module.globals.get(name) or ir.Function(module, ir.FunctionType(part, (part,) * 3), name)
    if lanes == LANES:
        return build.call(intrinsic, (total, numbers, signed))

    def piece(vector: Any, start: int) -> Any:
        places = ir.Constant(part, list(range(start, start + lanes)))
        return build.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    first, second = (
        build.call(intrinsic, tuple(piece(vector, start) for vector in (total, numbers, signed)))
        for start in range(0, LANES, lanes)
    )
    return build.shuffle_vector(first, second, ir.Constant(vector_of(INT), list(range(LANES))))


def _write_rows(module: ir.Module, layout: Format, lanes: int, rows: int) -> ir.Function:
    """f(x, x row bytes, panel, y, y row bytes, inputs, epilogue): `rows` rows of one panel."""
    name = f"dots_{layout.name}_{rows}"
    code = Code(module, name, (POINTER, LONG, POINTER, POINTER, LONG, LONG, LONG))
    x, x_row, panel, y, y_row, inputs, epilogue = code.arguments
    build = code.build
    # The sums of floats stand in memory: the registers are for whole numbers, two for each row, so that no product has
    # to wait for the one before.
    room = code.reserve(ir.ArrayType(VECTOR, 2 * rows))
    room.align = _STEP
    sums = code.opaque(room)
    places = [[code.at(sums, _STEP * (2 * row + half)) for half in range(2)] for row in range(rows)]
    for place in (place for both in places for place in both):
        code.store(code.floats(0.0), place, align=_STEP)
    blocks = [code.variable(code.at(x, code.times(x_row, row))) for row in range(rows)]
    group = code.variable(panel)

    def word(block: Any, place: int) -> Any:
        return code.splat(code.load(code.at(block, place), INT))

    def number(block: Any, place: int) -> Any:
        return code.splat(code.load(code.at(block, place), FLOAT))

    with code.loop(code.long(0), inputs, GROUP):
        for half in range(2):
            # Else LLVM would keep all that the first half has read for the second: more than there are registers.
            here = [code.opaque(block.value) for block in blocks]
            # What the upper bytes add counts 128 times as much, and so does what they start with.
            assert layout.zero in (0, 1 << SHIFT)
            upper = [word(block, LEAST) if layout.zero else code.ints(0) for block in here]
            lower = [code.ints(0)] * rows
            for at, numbers in enumerate(layout.quads(code, group.value, half)):
                upper = [
                    _dot(code, lanes, total, numbers, word(block, HIGH + 4 * at))
                    for total, block in zip(upper, here, strict=True)
                ]
                lower = [
                    _dot(code, lanes, total, numbers, word(block, LOW + 4 * at))
                    for total, block in zip(lower, here, strict=True)
                ]
            scale, low = layout.scales(code, group.value, half)
            for row, block in enumerate(here):
                total = build.add(build.shl(upper[row], code.ints(SHIFT)), lower[row])
                place = places[row][half]
                factor = build.fmul(scale, number(block, SCALE))
                found = code.fma(build.sitofp(total, VECTOR), factor, code.load(place, VECTOR, align=_STEP))
                if low is not None:
                    found = code.fma(low, number(block, SUM), found)
                code.store(found, place, align=_STEP)
        group.value = code.at(group.value, layout.group_bytes)
        for block in blocks:
            block.value = code.at(block.value, BLOCK_BYTES)
    found = [[code.load(place, VECTOR, align=_STEP) for place in both] for both in places]
    finish(code, epilogue, found, y, y_row)
    return code.end()


def write_dots(module: ir.Module, layout: Format, lanes: int) -> ir.Function:
    """Writes the kernel of a linear layer for the step's first rows; a tile is a panel, or two with Epilogue.GATE.

    Its arguments, 64-bit words: address of x in blocks, bytes of a row of x, address of the packed weights, address of
    y, bytes of a row of y, inputs, address of the number of rows, an `Epilogue`; with GATE, address of y in blocks and
    bytes of a row of it.
    """
    direct = {rows: _write_rows(module, layout, lanes, rows) for rows in _ROWS}
    code = Code(module, f"dots_{layout.name}", (POINTER, LONG, POINTER), internal=False)
    build = code.build
    arguments, tile, _ = code.arguments
    x, x_row, packed, y, y_row, inputs = (
        code.address(arguments, 0),
        code.field(arguments, 1),
        code.address(arguments, 2),
        code.address(arguments, 3),
        code.field(arguments, 4),
        code.field(arguments, 5),
    )
    rows = code.load(code.address(arguments, 6), LONG, align=8)
    epilogue = code.field(arguments, 7)
    panel_bytes = code.times(build.sdiv(inputs, code.long(GROUP)), layout.group_bytes)

    def compute(panel: Any, target: Any) -> None:
        for size, row in in_blocks(code, _ROWS, rows):
            source, place = code.at(x, build.mul(row, x_row)), code.at(target, build.mul(row, y_row))
            code.call(direct[size], (source, x_row, panel, place, y_row, inputs, epilogue))

    with build.if_else(build.icmp_signed("==", epilogue, code.long(Epilogue.GATE))) as (is_gate, is_plain):
        with is_gate:
            panel = code.at(packed, build.mul(code.times(tile, 2), panel_bytes))
            target = code.at(y, code.times(tile, 4 * GROUP))
            with code.loop(code.long(0), code.long(2)) as part:
                compute(code.at(panel, build.mul(part, panel_bytes)), code.at(target, code.times(part, _STEP)))
            blocks = code.at(code.address(arguments, 8), code.times(tile, BLOCK_BYTES))
            with code.loop(code.long(0), rows) as row:
                here = code.at(target, build.mul(row, y_row))
                first, second = code.load(here, VECTOR), code.load(code.at(here, _STEP), VECTOR)
                write_group(code, first, second, code.at(blocks, build.mul(row, code.field(arguments, 9))))
        with is_plain:
            compute(code.at(packed, build.mul(tile, panel_bytes)), code.at(y, code.times(tile, 4 * PANEL)))
    return code.end()
