"""The safetensors file format, as far as conversion needs it: reading a header, and writing a file in pieces.

The `safetensors` package writes only whole tensors from memory; here a tensor is written block by block, so
that a model is converted in a few megabytes. Format: 8 bytes header length (little endian), a JSON header,
then the raw tensors without gaps. The header is padded with spaces so that the data starts on a 64-byte
boundary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["ELEMENT_SIZES", "DamagedFileError", "StoredTensor", "file_header", "read_header", "write_tensors"]

ELEMENT_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip

_ALIGNMENT = 64
_LONGEST_HEADER = 100_000_000


class DamagedFileError(Exception):
    """Raised when a model file is incomplete or not what it should be; the text is a clause, no sentence."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: its dtype as safetensors names it, and its bytes [start, end) in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Returns the tensors of the safetensors file at `path`.

    Raises:
        DamagedFileError: the file is truncated or is no safetensors file.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise DamagedFileError(f"{path.name} is truncated or no safetensors file")
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        tensors = {name: _stored(entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedFileError(f"{path.name} has no valid safetensors header") from None
    for name, tensor in tensors.items():
        wanted = math.prod(tensor.shape) * ELEMENT_SIZES.get(tensor.dtype, 0)
        if tensor.end > size:
            raise DamagedFileError(f"{path.name} is truncated: it has {size} bytes and needs {tensor.end}")
        if tensor.dtype in ELEMENT_SIZES and tensor.end - tensor.start != wanted:
            raise DamagedFileError(f"{path.name} gives tensor {name} a wrong number of bytes")
    return tensors


def _stored(entry: dict[str, Any], base: int) -> StoredTensor:
    start, end = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(size) for size in entry["shape"])
    if not 0 <= start <= end or any(size < 0 for size in shape):
        raise ValueError
    return StoredTensor(str(entry["dtype"]), shape, base + start, base + end)


def file_header(shapes: Iterable[tuple[str, tuple[int, ...]]], dtype: str = "F32") -> tuple[bytes, int]:
    """Returns the head of a file whose tensors all have `dtype`, and the length of the data that follows, in bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers opens no file without it
    offset = 0
    for name, shape in shapes:
        end = offset + math.prod(shape) * ELEMENT_SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, offset


def write_tensors(file: IO[bytes], header: bytes, length: int, blocks: Iterable[memoryview]) -> Iterator[int]:
    """Writes `header` and then `blocks` to `file`; yields the data bytes written so far after each block.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    file.write(header)
    written = 0
    for block in blocks:
        written += file.write(block)
        yield written
    assert written == length, f"{written} bytes written where the header promises {length}"
