"""The header of a GGUF file (versions 2 and 3, little endian): metadata and where each tensor lies.

Every length is checked against the file before it is believed, so that a damaged file costs neither time nor
memory. The `gguf` package's reader builds an array object per string: it takes more than 20 times as long and
160 MB for a vocabulary of 49,152, and a damaged array length makes it loop for ever. Type numbers and block
sizes are that package's. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from .tensorfile import DamagedFileError

__all__ = ["GgufHeader", "GgufTensor", "read_gguf_header"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9
_DEEPEST_ARRAY = 4
_MOST_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor lies.

    Attributes:
        type: how its numbers are stored.
        shape: outermost dimension first.
        start: first byte, from the file's beginning.
        row_bytes: bytes of one run along the last dimension.
    """

    type: GGMLQuantizationType
    shape: tuple[int, ...]
    start: int
    row_bytes: int

    @property
    def rows(self) -> int:
        """Number of runs along the last dimension."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    The methods return a metadata value of the type that the caller expects, and raise DamagedFileError when
    it has another. A key without a default must be there.
    """

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    def number(self, key: str, default: float | None = None) -> float:
        """Returns a finite number; a list that has one for each layer counts as one when all are equal."""
        value = self.metadata.get(key, default)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        if value is None:
            raise DamagedFileError(f"the file lacks {key}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DamagedFileError(f"the file's {key} is not one number")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Returns a whole number."""
        value = self.number(key, default)
        if value != int(value):
            raise DamagedFileError(f"the file's {key} is not a whole number")
        return int(value)

    def token_id(self, key: str) -> int | None:
        """Returns a token id, None when the file has none."""
        return self.integer(key) if key in self.metadata else None

    def flag(self, key: str, default: bool) -> bool:
        """Returns a yes or no."""
        value = self.metadata.get(key, default)
        if not isinstance(value, bool):
            raise DamagedFileError(f"the file's {key} is neither true nor false")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Returns a text."""
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            raise DamagedFileError(f"the file's {key} is not a text")
        return value

    def texts(self, key: str) -> list[str]:
        """Returns a list of texts, empty when the file has none."""
        values = self.metadata.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DamagedFileError(f"the file's {key} is not a list of texts")
        return values

    def numbers(self, key: str) -> list[float]:
        """Returns a list of numbers, empty when the file has none."""
        values = self.metadata.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
            raise DamagedFileError(f"the file's {key} is not a list of numbers")
        return values


def read_gguf_header(path: Path) -> GgufHeader:
    """Returns the header of the GGUF file at `path`.

    Raises:
        DamagedFileError: the file is empty, truncated, damaged or no GGUF file.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise DamagedFileError("the file is no GGUF file" if file.tell() else "the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()


class _Cursor:
    """Reads values one after the other and never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = 4

    def header(self) -> GgufHeader:
        version = self._scalar("I")
        if version & 0xFFFF == 0 and version:
            raise DamagedFileError("the file is big-endian, which is not served")
        if version not in {2, 3}:
            raise DamagedFileError(f"the file has GGUF version {version}, and 2 and 3 are served")
        tensor_count, metadata_count = self._scalar("Q"), self._scalar("Q")
        metadata: dict[str, Any] = {}
        for _ in range(self._believable(metadata_count, 13)):
            key = self._string()
            if key in metadata:
                raise DamagedFileError(f"the file is damaged: it names {key} twice")
            metadata[key] = self._value(self._scalar("I"))
        records = [self._record() for _ in range(self._believable(tensor_count, 24))]
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise DamagedFileError(f"the file is damaged: its alignment is {alignment}")
        base = -(-self._at // alignment) * alignment
        tensors: dict[str, GgufTensor] = {}
        for name, kind, shape, offset in records:
            if name in tensors:
                raise DamagedFileError(f"the file is damaged: it names tensor {name} twice")
            tensors[name] = self._placed(name, kind, shape, base + offset)
        return GgufHeader(metadata, tensors)

    def _truncated(self, needed: int) -> DamagedFileError:
        return DamagedFileError(
            f"the file is truncated or damaged: it has {self._size} bytes and needs {needed} or more"
        )

    def _take(self, length: int) -> int:
        """Moves past `length` bytes and returns where they begin."""
        start = self._at
        if length > self._size - start:
            raise self._truncated(start + length)
        self._at = start + length
        return start

    def _believable(self, count: int, least_bytes: int) -> int:
        """Returns `count` when that many elements of at least `least_bytes` can still follow."""
        if count * least_bytes > self._size - self._at:
            raise self._truncated(self._at + count * least_bytes)
        return count

    def _scalar(self, code: str) -> Any:
        return struct.unpack_from("<" + code, self._data, self._take(struct.calcsize("<" + code)))[0]

    def _string(self) -> str:
        length = self._scalar("Q")
        start = self._take(length)
        try:
            return self._data[start : start + length].decode()
        except UnicodeDecodeError:
            raise DamagedFileError("the file is damaged: a text in it is not UTF-8") from None

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._string()
        if code := _SCALARS.get(kind):
            return self._scalar(code)
        if kind != _ARRAY or depth >= _DEEPEST_ARRAY:
            raise DamagedFileError(f"the file is damaged: it has a value of type {kind}")
        element, count = self._scalar("I"), self._scalar("Q")
        if code := _SCALARS.get(element):
            start = self._take(count * struct.calcsize("<" + code))
            return list(struct.unpack_from(f"<{count}{code}", self._data, start))
        return [self._value(element, depth + 1) for _ in range(self._believable(count, 8))]

    def _record(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string()
        dimensions = self._scalar("I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise DamagedFileError(f"the file is damaged: tensor {name} has {dimensions} dimensions")
        sizes = [self._scalar("Q") for _ in range(dimensions)]
        return name, self._scalar("I"), tuple(reversed(sizes)), self._scalar("Q")

    def _placed(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> GgufTensor:
        try:
            known = GGMLQuantizationType(kind)
        except ValueError:
            raise DamagedFileError(f"tensor {name} has the type number {kind}, which is not known") from None
        block, block_bytes = GGML_QUANT_SIZES[known]
        if shape[-1] % block:
            raise DamagedFileError(f"the file is damaged: rows of tensor {name} are no whole {known.name} blocks")
        tensor = GgufTensor(known, shape, start, shape[-1] // block * block_bytes)
        if (end := start + tensor.rows * tensor.row_bytes) > self._size:
            raise self._truncated(end)
        return tensor
