"""Elementary functions on vectors of floats, written out of multiplications and additions.

The exponential is Cephes' expf (S. Moshier, netlib): range reduction by ln 2 in two parts, a polynomial of degree 5;
its error is below 2 units in the last place.
"""

from __future__ import annotations

from typing import Any

from .code import INT, VECTOR, Code, vector_of

__all__ = ["exponential", "silu"]

_LOWEST, _HIGHEST = -87.0, 88.0
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
# Adding and taking away 1.5 * 2^23 rounds a float of small size to a whole number, to even as the hardware does.
_ROUNDER = 12582912.0


def exponential(code: Code, x: Any) -> Any:
    """Returns e^x of each element; below -87 it is about 1e-38, above 88 about 1e38."""
    build = code.build
    x = code.larger(x, code.floats(_LOWEST))
    x = build.select(build.fcmp_ordered("<", x, code.floats(_HIGHEST)), x, code.floats(_HIGHEST))
    turns = build.fsub(build.fadd(build.fmul(x, code.floats(_LOG2_E)), code.floats(_ROUNDER)), code.floats(_ROUNDER))
    rest = code.fma(turns, code.floats(-_LN2_HIGH), x)
    rest = code.fma(turns, code.floats(-_LN2_LOW), rest)
    value = code.floats(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        value = code.fma(value, rest, code.floats(coefficient))
    value = code.fma(build.fmul(value, rest), rest, build.fadd(rest, code.floats(1.0)))
    exponent = build.shl(build.add(build.fptosi(turns, vector_of(INT)), code.ints(127)), code.ints(23))
    return build.fmul(value, build.bitcast(exponent, VECTOR))


def silu(code: Code, x: Any) -> Any:
    """Returns x / (1 + e^-x) of each element."""
    build = code.build
    return build.fdiv(x, build.fadd(exponential(code, build.fsub(code.floats(0.0), x)), code.floats(1.0)))
