"""A thin layer over llvmlite's IR builder: vectors of floats, loops, local variables and addresses.

Kernels are written with it as if by hand, one vector operation a line. Nothing here knows what a kernel is for. A
vector has `LANES` elements on every host; LLVM splits it where registers are narrower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

__all__ = [
    "BYTE",
    "FLOAT",
    "HALF",
    "INT",
    "LANES",
    "LONG",
    "POINTER",
    "SHORT",
    "VECTOR",
    "Code",
    "Variable",
    "vector_of",
]

LANES = 16
FLOAT, HALF = ir.FloatType(), ir.HalfType()
BYTE, SHORT, INT, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
VECTOR = ir.VectorType(FLOAT, LANES)

Value = Any


def vector_of(element: ir.Type) -> ir.VectorType:
    """Returns the type of `LANES` elements."""
    return ir.VectorType(element, LANES)


class Variable:
    """A local value that changes; LLVM keeps it in a register."""

    def __init__(self, code: Code, start: Value) -> None:
        self._code = code
        self._slot = code.reserve(start.type)
        self.value = start

    @property
    def value(self) -> Value:
        """What it holds at this place of the code."""
        return self._code.build.load(self._slot, typ=self._slot.allocated_type)

    @value.setter
    def value(self, value: Value) -> None:
        self._code.build.store(value, self._slot)


class Code:
    """A function that is being written.

    Args:
        module: where it goes.
        arguments: types of its parameters; `self.arguments` are their values.
        internal: callable from its module only.
    """

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[ir.Type], *, internal: bool = True) -> None:
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
        if internal:
            self.function.linkage = "internal"
        self.function.attributes.add("nounwind")
        self.arguments = self.function.args
        self._entry = self.function.append_basic_block("entry")
        body = self.function.append_basic_block("body")
        self._entry_end = ir.IRBuilder(self._entry).branch(body)
        self.build = ir.IRBuilder(body)

    def reserve(self, type_: ir.Type) -> Any:
        """Returns a place on the stack, made once per call whatever loop asks for it."""
        at_entry = ir.IRBuilder(self._entry)
        at_entry.position_before(self._entry_end)
        return at_entry.alloca(type_)

    def long(self, value: int) -> Value:
        """Returns a 64-bit constant."""
        return ir.Constant(LONG, value)

    def float(self, value: float) -> Value:
        """Returns a float constant, rounded to single precision."""
        return ir.Constant(FLOAT, value)

    def variable(self, start: Value) -> Variable:
        """Returns a new variable."""
        return Variable(self, start)

    def at(self, pointer: Value, offset: Value | int) -> Value:
        """Returns the address `offset` bytes further."""
        place = self.long(offset) if isinstance(offset, int) else offset
        return self.build.gep(pointer, [place], source_etype=BYTE)

    def load(self, pointer: Value, type_: ir.Type, *, align: int = 4) -> Value:
        """Returns what stands at an address."""
        return self.build.load(pointer, align=align, typ=type_)

    def store(self, value: Value, pointer: Value, *, align: int = 4) -> None:
        """Writes to an address."""
        self.build.store(value, pointer, align=align)

    def field(self, arguments: Value, index: int) -> Value:
        """Returns the 64-bit word `index` of an argument block."""
        return self.load(self.at(arguments, 8 * index), LONG, align=8)

    def address(self, arguments: Value, index: int) -> Value:
        """Returns word `index` of an argument block as an address."""
        return self.build.inttoptr(self.field(arguments, index), POINTER)

    def times(self, left: Value, right: int) -> Value:
        """Returns the product with a constant."""
        return self.build.mul(left, self.long(right))

    def splat(self, scalar: Value) -> Value:
        """Returns a vector of one value."""
        type_ = vector_of(scalar.type)
        undefined = ir.Constant(type_, ir.Undefined)
        one = self.build.insert_element(undefined, scalar, ir.Constant(INT, 0))
        return self.build.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))

    def floats(self, value: float) -> Value:
        """Returns a vector of one float constant."""
        return ir.Constant(VECTOR, [value] * LANES)

    def ints(self, value: int) -> Value:
        """Returns a vector of one 32-bit constant."""
        return ir.Constant(vector_of(INT), [value] * LANES)

    def fma(self, left: Value, right: Value, addend: Value) -> Value:
        """Returns left * right + addend of each element, rounded once."""
        name = f"llvm.fma.v{LANES}f32"
        module = self.function.module
        fma = module.globals.get(name) or ir.Function(module, ir.FunctionType(VECTOR, (VECTOR,) * 3), name)
        return self.build.call(fma, (left, right, addend))

    def sum(self, vector: Value) -> Value:
        """Returns the sum of a vector's elements, always in the same order: halves onto each other."""
        width = LANES
        undefined = ir.Constant(vector.type, ir.Undefined)
        while width > 1:
            width //= 2
            indices = [(lane + width) % LANES if lane < width else lane for lane in range(LANES)]
            other = self.build.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(INT, LANES), indices))
            vector = self.build.fadd(vector, other)
        return self.build.extract_element(vector, ir.Constant(INT, 0))

    def largest(self, vector: Value) -> Value:
        """Returns the largest of a vector's elements."""
        width = LANES
        undefined = ir.Constant(vector.type, ir.Undefined)
        while width > 1:
            width //= 2
            indices = [(lane + width) % LANES if lane < width else lane for lane in range(LANES)]
            other = self.build.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(INT, LANES), indices))
            vector = self.larger(vector, other)
        return self.build.extract_element(vector, ir.Constant(INT, 0))

    def whole(self, operation: str, vector: Value) -> Value:
        """Returns the elements of a vector of whole numbers combined to one, by `add` or `umax`."""
        name = f"llvm.vector.reduce.{operation}.v{LANES}i32"
        module = self.function.module
        kind = ir.FunctionType(INT, (vector_of(INT),))
        return self.build.call(module.globals.get(name) or ir.Function(module, kind, name), (vector,))

    def larger(self, left: Value, right: Value) -> Value:
        """Returns the larger of two floats or of each pair of two vectors."""
        return self.build.select(self.build.fcmp_ordered(">", left, right), left, right)

    def opaque(self, pointer: Value) -> Value:
        """Returns the same address as one that LLVM knows nothing of: what is read through it is read again."""
        kind = ir.FunctionType(LONG, (LONG,))
        word = self.build.ptrtoint(pointer, LONG)
        return self.build.inttoptr(self.build.asm(kind, "", "=r,0", (word,), side_effect=True), POINTER)

    def call(self, function: Value, arguments: Sequence[Value]) -> Value:
        """Calls a function."""
        return self.build.call(function, arguments)

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """Runs the block for start, start + step, ... below stop."""
        head = self.function.append_basic_block("head")
        body = self.function.append_basic_block("loop")
        after = self.function.append_basic_block("after")
        before = self.build.block
        self.build.branch(head)
        self.build.position_at_end(head)
        index = self.build.phi(LONG)
        index.add_incoming(start, before)
        self.build.cbranch(self.build.icmp_signed("<", index, stop), body, after)
        self.build.position_at_end(body)
        yield index
        index.add_incoming(self.build.add(index, self.long(step)), self.build.block)
        self.build.branch(head)
        self.build.position_at_end(after)

    def end(self) -> ir.Function:
        """Ends the function and returns it."""
        self.build.ret_void()
        return self.function
