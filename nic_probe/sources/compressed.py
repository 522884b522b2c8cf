"""A compressed file as a stream of plain bytes that ends, however much it would swell.

gzip, bzip2 and xz, told apart by their first bytes and never by a name. Counts what it gives out and stops at
a limit. Called by `capture`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import BinaryIO, Protocol

from .archive import ArchiveError

__all__ = ["PlainStream"]

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_UNKNOWN = {
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
    b"PK\x03\x04": "ZIP",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}
# What decoding may take; the strongest setting of xz takes 65 MiB.
_XZ_MEMORY = 256 << 20
_PEEK = 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class PlainStream:
    """The bytes of a file, without its compression if it has one.

    Every reading raises ArchiveError when the file is broken, ends too early or swells beyond the limit.

    Args:
        file: open at its beginning.
        limit: how many plain bytes there may be.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._limit = limit
        self._given = 0
        self._kept = b""
        first = file.read(_PEEK)
        file.seek(0)
        for magic, name in _UNKNOWN.items():
            if first.startswith(magic):
                raise ArchiveError(
                    f"is compressed with {name}, which is not read", "pack it as .tar.gz, .tar.bz2 or .tar.xz"
                )
        self._inner: _Readable = file
        if first.startswith(_GZIP):
            self._inner = gzip.GzipFile(fileobj=file)
        elif first.startswith(_BZIP2):
            self._inner = bz2.BZ2File(file)
        elif first.startswith(_XZ):
            self._inner = _XzReader(file)

    def peek(self) -> bytes:
        """Returns the first bytes, which the next reading gives again."""
        if not self._kept:
            self._kept = self.read(_PEEK)
        return self._kept

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, all that is left for -1; fewer only at the end."""
        if size < 0:
            size = self._limit + 1
        parts = [self._kept[:size]]
        self._kept = self._kept[size:]
        left = size - len(parts[0])
        while left > 0 and (part := self._read_inner(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        """Reads to the end and drops it: only then is a checksum at the end looked at."""
        while self.read(1 << 20):
            pass

    def _read_inner(self, size: int) -> bytes:
        try:
            part = self._inner.read(size)
        except EOFError:
            raise ArchiveError.truncated("in the middle of its compressed data") from None
        except (OSError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise ArchiveError(f"cannot be unpacked ({str(error).lower()})", "copy it again, in binary mode") from None
        self._given += len(part)
        if self._given > self._limit:
            raise ArchiveError(
                f"holds more than {self._limit >> 20} MiB", "pack only sys/ and proc/ of one host, without big files"
            )
        return part


class _XzReader(io.RawIOBase):
    """Reads an xz file with a bound on the memory that its header may ask for; lzma.LZMAFile has none."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = _xz_decoder()
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._decoder.eof:
                # Several streams may follow each other, with zero bytes between.
                self._rest = (self._decoder.unused_data or self._file.read(1 << 16)).lstrip(b"\0")
                if not self._rest:
                    return b""
                self._decoder = _xz_decoder()
            elif self._decoder.needs_input:
                self._rest = self._file.read(1 << 16)
                if not self._rest:
                    raise EOFError
            part = self._decoder.decompress(self._rest, max_length=size)
            self._rest = b""
            if part:
                return part


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
