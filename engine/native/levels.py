"""Activations as whole numbers: a group of 32 has one scale, and each number is cut into two bytes.

    x = s * n,  n = 128 * h + l,  s = the largest |x| / 16256,  h in -127..127, l in -64..63.

A group is a block of `BLOCK_BYTES`: h[32], l[32], s (float), s times the sum of all n (float), minus that sum (int).
What is infinite or no number makes s such too, so that nobody takes what comes of it for a result. The kernels that
make activations of decoding tokens write them, those of `dots` read them.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from .code import BYTE, FLOAT, INT, LANES, Code, vector_of
from .formats import GROUP

__all__ = ["BLOCK_BYTES", "HIGH", "LEAST", "LOW", "SCALE", "SHIFT", "SUM", "row_bytes", "write_group"]

HIGH, LOW, SCALE, SUM, LEAST = 0, 32, 64, 68, 72
BLOCK_BYTES = 80
SHIFT = 7
_MOST = 127.0 * (1 << SHIFT)
# Adding 1.5 * 2^23 puts a float of small size, rounded to a whole number, into the lowest bits.
_ROUNDER, _ROUNDER_BITS = 12582912.0, 0x4B400000
# Below this nothing is left of a quotient; it becomes zeros.
_TINY = 1e-30


def row_bytes(width: int) -> int:
    """Returns the bytes of a row of `width` activations."""
    return width // GROUP * BLOCK_BYTES


def write_group(code: Code, first: Any, second: Any, block: Any) -> None:
    """Writes code that stores 32 floats, two vectors, as a block."""
    build = code.build
    both = (first, second)

    # The bits of floats without a sign are ordered as the floats are, infinity and what is no number above all.
    left, right = (build.and_(build.bitcast(one, vector_of(INT)), code.ints(0x7FFFFFFF)) for one in both)
    larger = build.select(build.icmp_unsigned(">", left, right), left, right)
    most = build.bitcast(code.whole("umax", larger), FLOAT)
    scale = build.fmul(most, code.float(1 / _MOST))
    inverse = build.select(
        build.fcmp_ordered(">", most, code.float(_TINY)), build.fdiv(code.float(_MOST), most), code.float(0.0)
    )
    factor = code.splat(inverse)
    numbers: list[Any] = []
    for half, one in enumerate(both):
        rounded = build.fadd(build.fmul(one, factor), code.floats(_ROUNDER))
        number = build.sub(build.bitcast(rounded, vector_of(INT)), code.ints(_ROUNDER_BITS))
        high = build.ashr(build.add(number, code.ints(1 << SHIFT - 1)), code.ints(SHIFT))
        low = build.sub(number, build.shl(high, code.ints(SHIFT)))
        for part, place in ((high, HIGH), (low, LOW)):
            code.store(build.trunc(part, vector_of(BYTE)), code.at(block, place + LANES * half), align=1)
        numbers.append(number)
    total = code.whole("add", build.add(numbers[0], numbers[1]))
    code.store(scale, code.at(block, SCALE))
    code.store(build.fmul(scale, build.sitofp(total, FLOAT)), code.at(block, SUM))
    code.store(build.sub(ir.Constant(INT, 0), total), code.at(block, LEAST))
