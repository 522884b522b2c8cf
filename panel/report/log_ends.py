"""The beginning and the end of a log: the start-up lines, and what was said last.

Reads two pieces of a file of any size. What is cut begins and ends with whole lines, so that no secret loses the name
before it, by which it is known.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["HEAD_BYTES", "TAIL_BYTES", "read_ends"]

HEAD_BYTES = 64 << 10
TAIL_BYTES = 1 << 20
_TORN_BYTES = 4096


def read_ends(path: Path, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> str:
    """Returns the ends of the log at `path` as text, all of it where it is short.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size <= head_bytes + tail_bytes:
            return file.read(head_bytes + tail_bytes).decode("utf-8", "replace")
        head = _without_last(file.read(head_bytes))
        file.seek(size - tail_bytes)
        tail = _without_first(file.read(tail_bytes))
    left_out = size - len(head) - len(tail)
    parts = (head, f"[pdpanel] {left_out} bytes are left out here\n".encode(), tail)
    return b"".join(parts).decode("utf-8", "replace")


def _without_last(data: bytes) -> bytes:
    end = data.rfind(b"\n") + 1
    return data[:end] if end else data[:-_TORN_BYTES] + b"\n"


def _without_first(data: bytes) -> bytes:
    begin = data.find(b"\n") + 1
    return data[begin:] if begin else data[_TORN_BYTES:]
