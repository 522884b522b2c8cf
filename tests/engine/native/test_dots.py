"""Products of bytes against numpy: the whole numbers exactly, and what floats become whole numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import llvmlite.ir as ir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pdpanel.engine.native.code import POINTER, VECTOR, Code
from pdpanel.engine.native.dots import write_dots
from pdpanel.engine.native.formats import FORMATS, GROUP, INT4, INT8, PANEL, Format, pack, unpack
from pdpanel.engine.native.levels import BLOCK_BYTES, HIGH, LEAST, LOW, SCALE, SUM, row_bytes, write_group
from pdpanel.engine.native.linear import Epilogue
from pdpanel.engine.native.machine import Program, open_machine

Floats = NDArray[np.float32]
Blocks = NDArray[np.uint8]
MOST = 16256


@dataclass(frozen=True)
class Kernels:
    """Compiled for registers of one width."""

    program: Program

    def group(self, values: Floats) -> Blocks:
        """Returns the block of 32 floats."""
        block = np.zeros(BLOCK_BYTES, dtype=np.uint8)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self.program.address("group"))
        call(values.ctypes.data, block.ctypes.data)
        return block

    def linear(self, layout: Format, x: Blocks, packed: Blocks, y: Floats, epilogue: Epilogue, blocks: Blocks) -> None:
        """Computes all tiles of a linear layer."""
        count, inputs = np.array([len(x)]), packed.shape[1] * GROUP
        places = (x.ctypes.data, x.strides[0], packed.ctypes.data, y.ctypes.data, y.strides[0], inputs)
        more = (count.ctypes.data, epilogue, blocks.ctypes.data, blocks.strides[0])
        words = np.array((*places, *more), dtype=np.int64)
        address = self.program.address(f"dots_{layout.name}")
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)(address)
        for tile in range(len(packed) // (2 if epilogue is Epilogue.GATE else 1)):
            call(words.ctypes.data, tile, 0)


@pytest.fixture(scope="module")
def kernels_of() -> Callable[[int], Kernels]:
    machine = open_machine()
    needed = {16: {"avx512vnni"}, 8: {"avxvnni"} if "avxvnni" in machine.features else {"avx512vnni", "avx512vl"}}
    made: dict[int, Kernels] = {}

    def made_for(lanes: int) -> Kernels:
        if not needed[lanes] <= machine.features:
            pytest.skip(f"this CPU ({machine.name}) has no {' and '.join(sorted(needed[lanes] - machine.features))}")
        if lanes not in made:
            module = ir.Module()
            module.triple = machine.triple
            for layout in FORMATS.values():
                write_dots(module, layout, lanes)
            code = Code(module, "group", (POINTER, POINTER), internal=False)
            source, target = code.arguments
            write_group(code, code.load(source, VECTOR), code.load(code.at(source, 64), VECTOR), target)
            code.end()
            made[lanes] = Kernels(Program(module, machine))
        return made[lanes]

    return made_for


def blocks_of(values: Floats) -> Blocks:
    """Returns rows of floats as blocks, as numpy computes them."""
    groups = values.reshape(-1, GROUP)
    most = np.abs(groups).max(axis=1)
    scale = most * np.float32(1 / MOST)
    inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most > 1e-30)
    numbers = np.rint(groups * inverse[:, None]).astype(np.int32)
    return blocks_from(numbers, scale).reshape(len(values), -1)


def blocks_from(numbers: NDArray[np.int32], scale: Floats) -> Blocks:
    """Returns blocks [groups, BLOCK_BYTES] of whole numbers [groups, 32]."""
    blocks = np.zeros((len(numbers), BLOCK_BYTES), dtype=np.uint8)
    high, sums = (numbers + 64) >> 7, numbers.sum(axis=1, dtype=np.int32)
    parts = {HIGH: high.astype(np.int8), LOW: (numbers - (high << 7)).astype(np.int8)}
    parts |= {SCALE: scale[:, None], SUM: (scale * sums.astype(np.float32))[:, None], LEAST: -sums[:, None]}
    for place, part in parts.items():
        as_bytes = np.ascontiguousarray(part).view(np.uint8)
        blocks[:, place : place + as_bytes.shape[1]] = as_bytes
    return blocks


@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20))
def test_floats_become_the_whole_numbers_that_numpy_rounds_them_to(
    kernels_of: Callable[[int], Kernels], seed: int, power: int
) -> None:
    values = (np.random.default_rng(seed).normal(size=GROUP) * 10.0**power).astype(np.float32)
    found = kernels_of(16).group(values)
    assert found.tobytes() == blocks_of(values[None])[0].tobytes()


@pytest.mark.parametrize("value", [0.0, 1e-38, 3.0])
def test_zeros_and_constants_stay_what_they_are(kernels_of: Callable[[int], Kernels], value: float) -> None:
    found = kernels_of(16).group(np.full(GROUP, value, dtype=np.float32))
    number = 128 * int(found[HIGH]) + int(found[LOW : LOW + 1].view(np.int8)[0])
    assert number * float(found[SCALE : SCALE + 4].view(np.float32)[0]) == pytest.approx(value, rel=1e-6, abs=1e-30)


@pytest.mark.parametrize("lanes", [16, 8])
@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS.keys())
@given(rows=st.integers(1, 19), groups=st.integers(1, 2), seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_products_of_whole_numbers_are_exact(
    kernels_of: Callable[[int], Kernels], lanes: int, layout: Format, rows: int, groups: int, seed: int
) -> None:
    kernels, random = kernels_of(lanes), np.random.default_rng(seed)
    inputs, outputs = groups * GROUP, 2 * PANEL
    # Scales are powers of two and the numbers small enough for a float: no sum is rounded, so any order is exact.
    most = 15 if layout is INT4 else 127
    weight = random.integers(-most if layout is INT8 else 0, most + 1, (outputs, inputs)).astype(np.float32)
    weight[:, ::GROUP], weight[:, 1::GROUP] = (0 if layout is INT4 else -most), most
    packed = pack(weight * np.float32(0.25), layout)
    assert (unpack(packed, layout, outputs) * 4 == weight).all()
    numbers = random.integers(-MOST // most, MOST // most + 1, (rows * groups, GROUP), dtype=np.int32)
    x = blocks_from(numbers, np.full(len(numbers), 0.5, dtype=np.float32)).reshape(rows, -1)
    exact = numbers.reshape(rows, inputs) @ weight.T.astype(np.int64) / 8
    for epilogue, before in ((Epilogue.STORE, 0.0), (Epilogue.ADD, 2.0)):
        y = np.full((rows, outputs), 2.0, dtype=np.float32)
        kernels.linear(layout, x, packed, y, epilogue, x)
        assert (y == exact + before).all()


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS.keys())
def test_what_a_gate_lets_through_is_written_as_blocks_too(
    kernels_of: Callable[[int], Kernels], layout: Format
) -> None:
    kernels, random = kernels_of(16), np.random.default_rng(5)
    values = random.normal(size=(11, 96)).astype(np.float32)
    packed = pack(random.normal(size=(4 * PANEL, 96)).astype(np.float32), layout)
    y, blocks = np.zeros((11, 2 * PANEL), dtype=np.float32), np.zeros((11, row_bytes(2 * PANEL)), dtype=np.uint8)
    kernels.linear(layout, blocks_of(values), packed, y, Epilogue.GATE, blocks)
    whole = (values.astype(np.float64) @ unpack(packed, layout, 4 * PANEL).T).reshape(11, -1, 2, 16)
    gate, up = whole[:, :, 0], whole[:, :, 1]
    np.testing.assert_allclose(y, (gate / (1 + np.exp(-gate)) * up).reshape(11, -1), rtol=0, atol=0.05)
    assert blocks.tobytes() == blocks_of(y).tobytes()


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS.keys())
def test_what_is_no_number_gives_no_number(kernels_of: Callable[[int], Kernels], layout: Format, wrong: float) -> None:
    values = np.ones((1, GROUP), dtype=np.float32)
    values[0, 20] = wrong
    packed = pack(np.random.default_rng(1).normal(size=(PANEL, GROUP)).astype(np.float32), layout)
    y = np.zeros((1, PANEL), dtype=np.float32)
    x = kernels_of(16).group(values)[None]
    kernels_of(16).linear(layout, x, packed, y, Epilogue.STORE, x)
    assert not np.isfinite(y).any()
