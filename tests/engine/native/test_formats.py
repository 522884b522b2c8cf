"""Packed weights: what goes in comes out, as near as the bits allow; grids that a file has already are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.native.formats import FORMATS, GROUP, INT4, INT8, PANEL, Format, pack, unpack

layouts = pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS.keys())


@layouts
@given(rows=st.integers(1, 70), groups=st.integers(1, 3), seed=st.integers(0, 99), scale=st.sampled_from((0.01, 1, 30)))
def test_what_is_packed_comes_back_within_half_a_step(
    layout: Format, rows: int, groups: int, seed: int, scale: float
) -> None:
    weight = (np.random.default_rng(seed).normal(0, scale, (rows, GROUP * groups))).astype(np.float32)
    packed = pack(weight, layout)
    assert packed.shape == (-(-rows // PANEL), groups, layout.group_bytes)
    blocks = weight.reshape(rows, groups, GROUP)
    width = np.ptp(blocks, axis=2) / 15 if layout is INT4 else np.abs(blocks).max(axis=2) / 127
    error = np.abs(unpack(packed, layout, rows).reshape(blocks.shape) - blocks).max(axis=2)
    assert (error <= 0.52 * width + np.abs(blocks).max(axis=2) * 2e-3).all()


@layouts
def test_a_grid_that_is_there_already_is_found_again(layout: Format) -> None:
    first = unpack(pack(np.random.default_rng(1).normal(size=(64, 96)).astype(np.float32), layout), layout, 64)
    again = unpack(pack(first, layout), layout, 64)
    np.testing.assert_allclose(again, first, rtol=0, atol=np.abs(first).max() * 1e-6)


@layouts
def test_zeros_and_constants_survive(layout: Format) -> None:
    for value in (0.0, 0.25, -1.0):
        weight = np.full((3, GROUP), value, dtype=np.float32)
        np.testing.assert_allclose(unpack(pack(weight, layout), layout, 3), weight, rtol=1e-3, atol=1e-7)


def test_bits_per_weight_are_those_that_are_promised() -> None:
    assert [layout.group_bytes * 8 / (PANEL * GROUP) for layout in (INT4, INT8)] == [5.0, 8.5]
