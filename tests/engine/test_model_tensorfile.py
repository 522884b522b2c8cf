"""The safetensors writer and header reader, with the safetensors package as the judge."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.model.tensorfile import DamagedFileError, file_header, read_header, write_tensors
from safetensors.numpy import load, save_file

shapes_of_names = st.dictionaries(
    st.text("abcXYZ._0123é", min_size=1, max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    min_size=1,
    max_size=6,
)


@given(shapes_of_names)
def test_what_is_written_in_blocks_is_a_safetensors_file(shapes: dict[str, tuple[int, ...]]) -> None:
    values = {
        name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + i
        for i, (name, shape) in enumerate(shapes.items())
    }
    header, length = file_header(shapes.items())
    file = io.BytesIO()
    rows = (row.data for value in values.values() for row in value.reshape(value.shape[0], -1))
    done = list(write_tensors(file, header, length, rows))
    assert len(header) % 64 == 0
    assert done[-1] == length == len(file.getvalue()) - len(header)
    loaded = load(file.getvalue())
    assert loaded.keys() == values.keys()
    assert all(np.array_equal(loaded[name], values[name]) for name in values)


def test_a_header_of_the_package_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = {"x": np.ones((2, 3), np.float16), "y": np.arange(4, dtype=np.int64)}
    save_file(wanted, path, metadata={"format": "pt"})
    tensors = read_header(path)
    assert {name: (t.dtype, t.shape) for name, t in tensors.items()} == {
        "x": ("F16", (2, 3)),
        "y": ("I64", (4,)),
    }
    data = path.read_bytes()
    for name, tensor in tensors.items():
        assert data[tensor.start : tensor.end] == wanted[name].tobytes()


def test_every_truncation_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": np.ones((2, 3), np.float32)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            read_header(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"x": 1}',
        b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"x": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}',
        b'{"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}',
        b'{"x": {"dtype": "F32", "shape": [4], "data_offsets": [0]}}',
        b"\xff\xfe{}",
    ],
)
def test_a_wrong_header_is_damage(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(DamagedFileError):
        read_header(path)
