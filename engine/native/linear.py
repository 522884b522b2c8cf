"""Kernels of linear layers: y = x W^T in float32, W packed as `formats` says, one panel of 32 outputs a tile.

Few rows read the packed weights as they go; from `_UNPACK_FROM` rows on a panel is unpacked once into scratch memory,
and blocks of up to 12 rows run over it. Every sum goes over the inputs in order, one fused multiply-add each, so a row
has the same bits whatever its neighbours are, and however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any

import llvmlite.ir as ir

from .code import FLOAT, LANES, LONG, POINTER, VECTOR, Code
from .formats import GROUP, PANEL, Format
from .mathematics import silu

__all__ = ["Epilogue", "finish", "in_blocks", "write_blocks", "write_linear"]

_FLOAT_BYTES = 4
_PANEL_BYTES = PANEL * _FLOAT_BYTES
_DIRECT_ROWS = (8, 4, 2, 1)
_BLOCK_ROWS = (12, 8, 4, 2, 1)
_UNPACK_FROM = 16


class Epilogue(IntEnum):
    """What becomes of a tile's results.

    STORE: they are written. ADD: they are added to what is there. GATE: the first half of a panel is the gate, the
    second what it lets through; silu(gate) * up is written, half as many numbers.
    """

    STORE = 0
    ADD = 1
    GATE = 2


def finish(code: Code, epilogue: Any, sums: Sequence[Sequence[Any]], target: Any, row_bytes: Any) -> None:
    """Writes the two vectors of each row."""
    build = code.build
    after = LANES * _FLOAT_BYTES

    def each(write: Callable[[Any, Any, Any], None]) -> None:
        for row, (first, second) in enumerate(sums):
            write(first, second, code.at(target, code.times(row_bytes, row)))

    def store(first: Any, second: Any, place: Any) -> None:
        code.store(first, place)
        code.store(second, code.at(place, after))

    def add(first: Any, second: Any, place: Any) -> None:
        code.store(build.fadd(code.load(place, VECTOR), first), place)
        code.store(build.fadd(code.load(code.at(place, after), VECTOR), second), code.at(place, after))

    def gate(first: Any, second: Any, place: Any) -> None:
        code.store(build.fmul(silu(code, first), second), place)

    with build.if_else(build.icmp_signed("==", epilogue, code.long(Epilogue.STORE))) as (yes, no):
        with yes:
            each(store)
        with no, build.if_else(build.icmp_signed("==", epilogue, code.long(Epilogue.ADD))) as (is_add, is_gate):
            with is_add:
                each(add)
            with is_gate:
                each(gate)


def _write_direct(module: ir.Module, layout: Format, rows: int) -> ir.Function:
    """f(x, x row bytes, panel, y, y row bytes, inputs, epilogue): `rows` rows of one panel, from packed weights."""
    code = Code(module, f"direct_{layout.name}_{rows}", (POINTER, LONG, POINTER, POINTER, LONG, LONG, LONG))
    x, x_row, panel, y, y_row, inputs, epilogue = code.arguments
    zero = code.floats(0.0)
    sums = [[code.variable(zero) for _ in range(2)] for _ in range(rows)]
    group = code.variable(panel)
    rows_of_x = [code.at(x, code.times(x_row, row)) for row in range(rows)]
    with code.loop(code.long(0), inputs, GROUP) as k:
        header = layout.begin(code, group.value)
        here = [code.at(one, code.times(k, _FLOAT_BYTES)) for one in rows_of_x]
        totals = [[one.value for one in row] for row in sums]
        for inside in range(GROUP):
            weights = layout.weights(code, group.value, header, inside)
            for row in range(rows):
                factor = code.splat(code.load(code.at(here[row], _FLOAT_BYTES * inside), FLOAT))
                totals[row] = [code.fma(factor, weights[half], totals[row][half]) for half in range(2)]
        for row in range(rows):
            for half in range(2):
                sums[row][half].value = totals[row][half]
        group.value = code.at(group.value, layout.group_bytes)
    finish(code, epilogue, [[one.value for one in row] for row in sums], y, y_row)
    return code.end()


def _write_unpack(module: ir.Module, layout: Format) -> ir.Function:
    """f(panel, scratch, inputs): a panel as floats [inputs, 32]."""
    code = Code(module, f"unpack_{layout.name}", (POINTER, POINTER, LONG))
    panel, scratch, inputs = code.arguments
    group, target = code.variable(panel), code.variable(scratch)
    with code.loop(code.long(0), inputs, GROUP):
        header = layout.begin(code, group.value)
        for inside in range(GROUP):
            for half, weights in enumerate(layout.weights(code, group.value, header, inside)):
                place = _PANEL_BYTES * inside + LANES * _FLOAT_BYTES * half
                code.store(weights, code.at(target.value, place), align=64)
        group.value = code.at(group.value, layout.group_bytes)
        target.value = code.at(target.value, GROUP * _PANEL_BYTES)
    return code.end()


def _write_block(module: ir.Module, rows: int) -> ir.Function:
    """f(a, a row bytes, b, b row bytes, c, c row bytes, depth, epilogue): c = a [rows, depth] times b [depth, 32]."""
    code = Code(module, f"block_{rows}", (POINTER, LONG, POINTER, LONG, POINTER, LONG, LONG, LONG))
    a, a_row, b, b_row, c, c_row, depth, epilogue = code.arguments
    zero = code.floats(0.0)
    sums = [[code.variable(zero) for _ in range(2)] for _ in range(rows)]
    rows_of_a = [code.at(a, code.times(a_row, row)) for row in range(rows)]
    line = code.variable(b)
    with code.loop(code.long(0), depth) as k:
        weights = [code.load(code.at(line.value, LANES * _FLOAT_BYTES * half), VECTOR) for half in range(2)]
        place = code.times(k, _FLOAT_BYTES)
        for row in range(rows):
            factor = code.splat(code.load(code.at(rows_of_a[row], place), FLOAT))
            for half in range(2):
                sums[row][half].value = code.fma(factor, weights[half], sums[row][half].value)
        line.value = code.at(line.value, b_row)
    finish(code, epilogue, [[one.value for one in row] for row in sums], c, c_row)
    return code.end()


def write_blocks(module: ir.Module) -> ir.Function:
    """Writes f(a, a row bytes, b, b row bytes, c, c row bytes, depth, rows, epilogue): a product of any rows."""
    blocks = {rows: _write_block(module, rows) for rows in _BLOCK_ROWS}
    types = (POINTER, LONG, POINTER, LONG, POINTER, LONG, LONG, LONG, LONG)
    code = Code(module, "blocks", types)
    a, a_row, b, b_row, c, c_row, depth, rows, epilogue = code.arguments
    for size, row in in_blocks(code, _BLOCK_ROWS, rows):
        source = code.at(a, code.build.mul(row, a_row))
        target = code.at(c, code.build.mul(row, c_row))
        code.call(blocks[size], (source, a_row, b, b_row, target, c_row, depth, epilogue))
    return code.end()


def in_blocks(code: Code, sizes: Sequence[int], rows: Any) -> Iterator[tuple[int, Any]]:
    """Writes a loop for each size, largest first; yields it with the first row of a block, inside of its loop."""
    done = code.variable(code.long(0))
    for size in sizes:
        start = done.value
        whole = code.times(code.build.sdiv(code.build.sub(rows, start), code.long(size)), size)
        stop = code.build.add(start, whole)
        with code.loop(start, stop, size) as row:
            yield size, row
        done.value = stop


def write_linear(module: ir.Module, layout: Format, blocks: ir.Function) -> ir.Function:
    """Writes the kernel of a linear layer; a tile is a panel.

    Its arguments, 64-bit words: address of x, bytes of a row of x, address of the packed weights, address of y, bytes
    of a row of y, inputs, address of two words with the first row and the number of rows, an `Epilogue`.
    """
    direct = {rows: _write_direct(module, layout, rows) for rows in _DIRECT_ROWS}
    unpack = _write_unpack(module, layout)
    code = Code(module, f"linear_{layout.name}", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, scratch = code.arguments
    x, x_row, packed, y, y_row, inputs = (
        code.address(arguments, 0),
        code.field(arguments, 1),
        code.address(arguments, 2),
        code.address(arguments, 3),
        code.field(arguments, 4),
        code.field(arguments, 5),
    )
    about = code.address(arguments, 6)
    first, rows = (code.load(code.at(about, 8 * i), LONG, align=8) for i in range(2))
    x = code.at(x, code.build.mul(first, x_row))
    groups = code.build.sdiv(inputs, code.long(GROUP))
    panel = code.at(packed, code.build.mul(tile, code.times(groups, layout.group_bytes)))
    epilogue = code.field(arguments, 7)
    is_gate = code.build.icmp_signed("==", epilogue, code.long(Epilogue.GATE))
    width = code.build.select(is_gate, code.long(_PANEL_BYTES // 2), code.long(_PANEL_BYTES))
    y = code.at(code.at(y, code.build.mul(first, y_row)), code.build.mul(tile, width))
    with code.build.if_else(code.build.icmp_signed("<", rows, code.long(_UNPACK_FROM))) as (few, many):
        with few:
            for size, row in in_blocks(code, _DIRECT_ROWS, rows):
                source = code.at(x, code.build.mul(row, x_row))
                target = code.at(y, code.build.mul(row, y_row))
                code.call(direct[size], (source, x_row, panel, target, y_row, inputs, epilogue))
        with many:
            code.call(unpack, (panel, scratch, inputs))
            code.call(blocks, (x, x_row, scratch, code.long(_PANEL_BYTES), y, y_row, inputs, rows, epilogue))
    return code.end()
