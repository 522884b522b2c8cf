r"""Reads a ttar file, the text archive in which Prometheus keeps captures of kernel files.

Records of `Path:` with `Lines:` and that many lines, or with `SymlinkTo:`; or of `Directory:`. In the lines
`NULLBYTE` is a zero byte and an `EOF` at the end of a line means that the file has no newline there; with a
backslash in front both are literal text. Source: the format's own script (github.com/ideaship/ttar). Called by
`capture`.
"""

from __future__ import annotations

import io
import re

from .archive import ArchiveError, Unpacking
from .compressed import PlainStream

__all__ = ["looks_like_ttar", "read_ttar"]

_KEYS = (b"Path: ", b"Directory: ", b"SymlinkTo: ", b"Lines: ", b"Mode: ")
_ZERO = re.compile(rb"(?<!\\)NULLBYTE")


def looks_like_ttar(first: bytes) -> bool:
    """True when the file begins with a record, or with a comment and then a record."""
    for line in first.splitlines():
        if line.strip() and not line.startswith(b"#"):
            return line.startswith(_KEYS[:2])
    return first.startswith(b"# Archive created by ttar")


def read_ttar(stream: PlainStream, into: Unpacking) -> None:
    """Takes in all records; raises ArchiveError."""
    content = stream.read(into.limits.text_bytes + 1)
    if len(content) > into.limits.text_bytes:
        raise ArchiveError(f"holds more than {into.limits.text_bytes >> 20} MiB", "pack it as .tar.gz")
    lines = io.BytesIO(content)
    path = ""
    pending = False
    number = 0
    while line := lines.readline():
        number += 1
        if not line.endswith(b"\n"):
            raise ArchiveError.truncated(f"in the middle of line {number}")
        line = line[:-1]
        if not line.strip() or line.startswith(b"#"):
            continue
        key, colon, value = line.partition(b": ")
        text = value.decode("utf-8", "surrogateescape")
        if not colon or key + b": " not in _KEYS or (key in (b"Lines", b"SymlinkTo") and not pending):
            raise ArchiveError(f"is no proper ttar file at line {number}", "make it with `ttar -c -f FILE FOLDER`")
        if key in (b"Path", b"Directory"):
            if pending:
                break
            path = text
            pending = key == b"Path"
            if not pending:
                into.folder(path)
        elif key == b"SymlinkTo":
            into.link(path, text)
            pending = False
        elif key == b"Lines":
            count = int(value) if value.isdigit() and len(value) < 10 else -1
            if count < 0:
                raise ArchiveError(f"is no proper ttar file at line {number}", "make it with `ttar -c -f FILE FOLDER`")
            into.file(path, _content(lines, count, path)[: into.limits.file_bytes])
            number += count
            pending = False
    if pending:
        raise ArchiveError.truncated(f"before the content of {path[:80]!r}")


def _content(lines: io.BytesIO, count: int, path: str) -> bytes:
    parts: list[bytes] = []
    for _ in range(count):
        line = lines.readline()
        if not line.endswith(b"\n"):
            raise ArchiveError.truncated(f"within {path[:80]!r}")
        if line.endswith(b"EOF\n") and not line.endswith(b"\\EOF\n"):
            line = line[:-4]
        parts.append(line)
    content = b"".join(parts)
    if b"NULLBYTE" in content:
        content = _ZERO.sub(b"\0", content).replace(b"\\NULLBYTE", b"NULLBYTE")
    return content.replace(b"\\EOF", b"EOF")
