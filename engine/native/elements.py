"""The element types of KV memory: how a kernel reads and writes sixteen of them as floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir

from .code import FLOAT, HALF, INT, SHORT, VECTOR, Code, vector_of

__all__ = ["ELEMENTS", "Element"]


@dataclass(frozen=True, slots=True)
class Element:
    """One type.

    Attributes:
        load: writes code that reads a vector; `scalar` reads one element.
        store: writes code that writes a vector, rounded to nearest even as torch does.
    """

    name: str
    size: int
    load: Callable[[Code, Any], Any]
    scalar: Callable[[Code, Any], Any]
    store: Callable[[Code, Any, Any], None]


def _load_float(code: Code, pointer: Any) -> Any:
    return code.load(pointer, VECTOR)


def _scalar_float(code: Code, pointer: Any) -> Any:
    return code.load(pointer, FLOAT)


def _store_float(code: Code, vector: Any, pointer: Any) -> None:
    code.store(vector, pointer)


def _load_bfloat(code: Code, pointer: Any) -> Any:
    upper = code.build.zext(code.load(pointer, vector_of(SHORT), align=2), vector_of(INT))
    return code.build.bitcast(code.build.shl(upper, code.ints(16)), VECTOR)


def _scalar_bfloat(code: Code, pointer: Any) -> Any:
    upper = code.build.zext(code.load(pointer, SHORT, align=2), INT)
    return code.build.bitcast(code.build.shl(upper, ir.Constant(INT, 16)), FLOAT)


def _store_bfloat(code: Code, vector: Any, pointer: Any) -> None:
    build = code.build
    bits = build.bitcast(vector, vector_of(INT))
    odd = build.and_(build.lshr(bits, code.ints(16)), code.ints(1))
    rounded = build.lshr(build.add(bits, build.add(odd, code.ints(0x7FFF))), code.ints(16))
    # Adding may turn a NaN into another number, so these keep a bit of their own.
    kept = build.select(build.fcmp_unordered("uno", vector, vector), code.ints(0x7FC0), rounded)
    code.store(build.trunc(kept, vector_of(SHORT)), pointer, align=2)


def _load_half(code: Code, pointer: Any) -> Any:
    return code.build.fpext(code.load(pointer, vector_of(HALF), align=2), VECTOR)


def _scalar_half(code: Code, pointer: Any) -> Any:
    return code.build.fpext(code.load(pointer, HALF, align=2), FLOAT)


def _store_half(code: Code, vector: Any, pointer: Any) -> None:
    code.store(code.build.fptrunc(vector, vector_of(HALF)), pointer, align=2)


ELEMENTS = {
    "float32": Element("float32", 4, _load_float, _scalar_float, _store_float),
    "bfloat16": Element("bfloat16", 2, _load_bfloat, _scalar_bfloat, _store_bfloat),
    "float16": Element("float16", 2, _load_half, _scalar_half, _store_half),
}
"""By torch's names."""
