"""The GGUF header against the gguf package's own reader, and against damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.gguf import GgufSource
from pdpanel.engine.model.gguf_header import read_gguf_header
from pdpanel.engine.model.layout import weight_layout
from pdpanel.engine.model.tensorfile import DamagedFileError

WriteGguf = Callable[..., Path]


@pytest.mark.parametrize("quant", ["F32", "F16", "Q4_0", "Q8_0"])
def test_it_agrees_with_the_reader_of_the_gguf_package(
    tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any, quant: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", tiny_model, quant=quant, texts={"general.license": "mit"})
    header = read_gguf_header(path)
    reader = gguf.GGUFReader(path)
    expected = {name: field.contents() for name, field in reader.fields.items() if name[:5] != "GGUF."}
    assert header.metadata == expected
    assert header.tensors.keys() == {tensor.name for tensor in reader.tensors}
    for tensor in reader.tensors:
        found = header.tensors[tensor.name]
        assert found.type == tensor.tensor_type
        assert found.start == tensor.data_offset
        assert found.rows * found.row_bytes == tensor.n_bytes
        assert list(found.shape) == list(reversed(tensor.shape.tolist()))


def read_everything(path: Path) -> None:
    source = GgufSource(path)
    source.tokenizer_json()
    for tensor in weight_layout(source.shape):
        for part in tensor.parts:
            source.check(part)
            for _ in source.rows(part):
                pass


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused_with_a_sentence(tiny_gguf: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = tiny_gguf.read_bytes()
    last = max(t.start + t.rows * t.row_bytes for t in read_gguf_header(tiny_gguf).tensors.values())
    cut = data.draw(st.one_of(st.integers(0, 64), st.integers(0, last - 1), st.integers(last - 64, last - 1)))
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:cut])
    with pytest.raises(ConfigError) as caught:
        read_everything(path)
    assert caught.value.field == "--model-path"
    assert caught.value.value == str(path)
    assert "cut.gguf" in str(caught.value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_refused_or_read_but_never_trips(
    tiny_gguf: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """On some of these the gguf package's reader loops for ever."""
    damaged = bytearray(tiny_gguf.read_bytes())
    header_bytes = min(t.start for t in read_gguf_header(tiny_gguf).tensors.values())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, header_bytes - 9))
        patch = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 8), st.just(bytes(8))))
        damaged[at : at + len(patch)] = patch
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged)
    try:
        read_everything(path)
    except ConfigError as error:
        assert error.field == "--model-path"


def test_a_huge_array_length_costs_nothing(tiny_gguf: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_gguf.read_bytes())
    key = b"tokenizer.ggml.token_type"
    count = data.index(key) + len(key) + 8
    assert int.from_bytes(data[count : count + 8], "little") == 288
    data[count : count + 8] = (1 << 60).to_bytes(8, "little")
    path = tmp_path / "long.gguf"
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="truncated or damaged"):
        read_gguf_header(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"GG", "no GGUF file"),
        (b"PK\x03\x04" + bytes(100), "no GGUF file"),
        (b"GGUF\x00\x00\x00\x03" + bytes(100), "big-endian"),
        (b"GGUF\x01\x00\x00\x00" + bytes(100), "version 1"),
        (b"GGUF\x03\x00\x00\x00" + bytes(10), "truncated"),
    ],
)
def test_what_is_no_gguf_file_is_called_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=words):
        read_gguf_header(path)
