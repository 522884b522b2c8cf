"""Kernels that work on one row of states: the norm, and rope with the writing of K and V.

A tile is a row. Argument blocks are 64-bit words; their order stands with each kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir

from .code import FLOAT, INT, LANES, LONG, POINTER, VECTOR, Code
from .elements import Element
from .levels import BLOCK_BYTES, write_group

__all__ = ["Heads", "write_gather", "write_norm", "write_rope"]

_STEP = 4 * LANES


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of a model, and what its attention adds.

    Attributes:
        queries: query heads; a multiple of `keys`.
        dim: elements of a head; a multiple of 32.
    """

    queries: int
    keys: int
    dim: int
    has_bias: bool = False
    has_norm: bool = False

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.queries // self.keys


def _root(code: Code, squares: Any, width: Any, epsilon: Any) -> Any:
    """Returns a vector of 1 / sqrt(squares / width + epsilon)."""
    build = code.build
    mean = build.fadd(build.fdiv(squares, width), epsilon)
    module = code.function.module
    sqrt = module.globals.get("llvm.sqrt.f32") or ir.Function(module, ir.FunctionType(FLOAT, (FLOAT,)), "llvm.sqrt.f32")
    return code.splat(build.fdiv(code.float(1.0), build.call(sqrt, (mean,))))


def write_gather(module: ir.Module) -> ir.Function:
    """Copies row `index[tile]` of a matrix to row `tile` of another.

    Words: source, bytes of a row of it, target, bytes of a row of it, bytes to copy (a multiple of 64), index.
    """
    code = Code(module, "gather", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, _ = code.arguments
    row = code.load(code.at(code.address(arguments, 5), code.times(tile, 8)), LONG, align=8)
    source = code.at(code.address(arguments, 0), code.build.mul(row, code.field(arguments, 1)))
    target = code.at(code.address(arguments, 2), code.build.mul(tile, code.field(arguments, 3)))
    with code.loop(code.long(0), code.field(arguments, 4), _STEP) as offset:
        code.store(code.load(code.at(source, offset), VECTOR), code.at(target, offset))
    return code.end()


def write_norm(module: ir.Module, *, levels: bool) -> ir.Function:
    """RMS norm of a row: `norm` writes floats, `norm_single`, with `levels`, blocks of whole numbers.

    Words: x, bytes of a row of x, weight, y, bytes of a row of y, width (a multiple of 32), bits of epsilon, address of
    the number of the first row.
    """
    code = Code(module, "norm_single" if levels else "norm", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, _ = code.arguments
    build = code.build
    row = build.add(tile, code.load(code.address(arguments, 7), LONG, align=8))
    x, x_row, weight = code.address(arguments, 0), code.field(arguments, 1), code.address(arguments, 2)
    y, y_row, width = code.address(arguments, 3), code.field(arguments, 4), code.field(arguments, 5)
    epsilon = build.bitcast(build.trunc(code.field(arguments, 6), INT), FLOAT)
    x, y = code.at(x, build.mul(row, x_row)), code.at(y, build.mul(row, y_row))
    squares = code.variable(code.floats(0.0))
    size = code.times(width, 4)
    with code.loop(code.long(0), size, _STEP) as offset:
        here = code.load(code.at(x, offset), VECTOR)
        squares.value = code.fma(here, here, squares.value)
    root = _root(code, code.sum(squares.value), build.sitofp(width, FLOAT), epsilon)

    def normed(offset: Any) -> Any:
        scaled = build.fmul(code.load(code.at(x, offset), VECTOR), root)
        return build.fmul(scaled, code.load(code.at(weight, offset), VECTOR))

    if levels:
        block = code.variable(y)
        with code.loop(code.long(0), size, 2 * _STEP) as offset:
            write_group(code, normed(offset), normed(build.add(offset, code.long(_STEP))), block.value)
            block.value = code.at(block.value, BLOCK_BYTES)
    else:
        with code.loop(code.long(0), size, _STEP) as offset:
            code.store(normed(offset), code.at(y, offset))
    return code.end()


def write_rope(module: ir.Module, heads: Heads, element: Element) -> ir.Function:
    """Rotates q of a row in place, and writes its rotated k and its v to the KV memory.

    Words: q|k|v rows, bytes of such a row, positions (int64 for each row), places (int64, token index in the slots),
    cosines (float [positions, dim / 2]), sines, K of the layer, V of the layer, bytes from head to head there, bias,
    weight of q's norm, of k's norm, bits of the norm's epsilon.
    """
    code = Code(module, "rope", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, _ = code.arguments
    build = code.build
    row = code.at(code.address(arguments, 0), build.mul(tile, code.field(arguments, 1)))
    position = code.load(code.at(code.address(arguments, 2), code.times(tile, 8)), LONG, align=8)
    place = code.load(code.at(code.address(arguments, 3), code.times(tile, 8)), LONG, align=8)
    angle = code.times(position, heads.dim // 2 * 4)
    cosines, sines = code.at(code.address(arguments, 4), angle), code.at(code.address(arguments, 5), angle)
    token = code.times(place, heads.dim * element.size)
    keys, values = code.at(code.address(arguments, 6), token), code.at(code.address(arguments, 7), token)
    head_step = code.field(arguments, 8)
    bias = code.address(arguments, 9)
    epsilon = build.bitcast(build.trunc(code.field(arguments, 12), INT), FLOAT)
    vectors = heads.dim // LANES
    half = vectors // 2

    def read(offset: Any) -> list[Any]:
        """Returns a head, with its bias."""
        here = code.at(row, offset)
        found = [code.load(code.at(here, _STEP * i), VECTOR) for i in range(vectors)]
        if heads.has_bias:
            there = code.at(bias, offset)
            found = [build.fadd(one, code.load(code.at(there, _STEP * i), VECTOR)) for i, one in enumerate(found)]
        return found

    def rotated(head: list[Any], weight: int) -> list[Any]:
        if heads.has_norm:
            squares = code.floats(0.0)
            for one in head:
                squares = code.fma(one, one, squares)
            root = _root(code, code.sum(squares), code.float(heads.dim), epsilon)
            norm = code.address(arguments, weight)
            head = [
                build.fmul(build.fmul(one, root), code.load(code.at(norm, _STEP * i), VECTOR))
                for i, one in enumerate(head)
            ]
        first, second = head[:half], head[half:]
        found: list[Any] = [None] * vectors
        for i in range(half):
            cosine, sine = code.load(code.at(cosines, _STEP * i), VECTOR), code.load(code.at(sines, _STEP * i), VECTOR)
            found[i] = build.fsub(build.fmul(first[i], cosine), build.fmul(second[i], sine))
            found[half + i] = code.fma(second[i], cosine, build.fmul(first[i], sine))
        return found

    head_bytes = heads.dim * 4
    with code.loop(code.long(0), code.long(heads.queries)) as head:
        offset = code.times(head, head_bytes)
        for i, vector in enumerate(rotated(read(offset), 10)):
            code.store(vector, code.at(code.at(row, offset), _STEP * i))
    with code.loop(code.long(0), code.long(heads.keys)) as head:
        target = build.mul(head, head_step)
        offset = code.times(build.add(head, code.long(heads.queries)), head_bytes)
        for i, vector in enumerate(rotated(read(offset), 11)):
            element.store(code, vector, code.at(code.at(keys, target), LANES * element.size * i))
        offset = code.times(build.add(head, code.long(heads.queries + heads.keys)), head_bytes)
        for i, vector in enumerate(read(offset)):
            element.store(code, vector, code.at(code.at(values, target), LANES * element.size * i))
    return code.end()
