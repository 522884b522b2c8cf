"""Packed weights beside a converted model: chosen by what the file holds, made once, mapped after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.layout import weight_layout
from pdpanel.engine.model.progress import Progress
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.native.formats import FORMATS, INT4, INT8, Format, pack, unpack
from pdpanel.engine.native.packing import alternate, load_packed, why_not
from safetensors.numpy import save_file

from .conftest import small_shape

Write = Callable[[ModelShape, Format | None], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(shape: ModelShape, grid: Format | None) -> Path:
        random = np.random.default_rng(3)
        stored = {}
        for tensor in weight_layout(shape):
            weight = random.normal(0, 0.1, tensor.shape).astype(np.float32)
            if grid and weight.ndim == 2 and not tensor.name.endswith("embedding"):
                weight = unpack(pack(weight, grid), grid, len(weight))
            stored[tensor.name] = weight
        save_file(stored, tmp_path / "weights.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({"shape": shape.as_json()}))
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("grid", "quantization", "layers", "head"),
    [
        (INT4, "auto", "int4-g32", "int4-g32"),
        (INT8, "auto", "int8-g32", "int8-g32"),
        (None, "auto", "int8-g32", "int8-g32"),
        (None, "int4", "int4-g32", "int8-g32"),
        (INT4, "int8", "int8-g32", "int8-g32"),
    ],
)
def test_the_format_follows_the_file_and_the_flag(
    write: Write, grid: Format | None, quantization: str, layers: str, head: str
) -> None:
    folder = write(small_shape(), grid)
    packed = load_packed(folder, quantization)
    assert packed.formats["lm_head"].name == head
    assert {layout.name for name, layout in packed.formats.items() if name != "lm_head"} == {layers}
    assert packed.name == (layers if head == layers else f"{layers}, head {head}")


def test_it_is_packed_once_and_says_how_far_it_is(write: Write) -> None:
    folder = write(small_shape(), INT4)
    said: list[Progress] = []
    first = load_packed(folder, "auto", said.append)
    assert {one.stage for one in said} == {"pack"}
    assert [one.done for one in said] == sorted(one.done for one in said)
    assert 0 < said[-1].done <= said[-1].total
    (folder / "weights.safetensors").unlink()  # nobody needs it again
    again = load_packed(folder, "auto")
    assert all(np.array_equal(first.matrices[name], again.matrices[name]) for name in first.matrices)


def test_a_damaged_file_is_refused_with_what_to_do(write: Write) -> None:
    folder = write(small_shape(), INT4)
    load_packed(folder, "auto")
    (path,) = folder.glob("packed-*-auto.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"packed-.* is damaged .*delete packed-"):
        load_packed(folder, "auto")


def test_what_cannot_be_packed_is_said(write: Write) -> None:
    folder = write(small_shape(), INT4)
    (folder / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="cannot be packed as auto"):
        load_packed(folder, "auto")


def test_gate_and_up_alternate_by_sixteen() -> None:
    weight = np.arange(80, dtype=np.float32)[:, None] * np.ones((1, 32), dtype=np.float32)  # gate 0..39, up 40..79
    found = alternate(weight)[:, 0].astype(int).tolist()
    assert found[:32] == [*range(16), *range(40, 56)]
    assert found[64:] == [*range(32, 40), *[0] * 8, *range(72, 80), *[0] * 8]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"hidden": 72}, "its hidden size of 72 is no multiple of 32"),
        ({"ffn": 100}, "its feed-forward size of 100 is no multiple of 32"),
        ({"head_dim": 24, "heads": 4}, "its head size of 24 is no multiple of 32"),
    ],
)
def test_shapes_that_the_kernels_cannot_compute_are_named(changes: dict[str, int], problem: str) -> None:
    assert why_not(small_shape(**changes)) == problem


def test_formats_are_known_by_name() -> None:
    assert {name: layout.name for name, layout in FORMATS.items()} == {name: name for name in FORMATS}
