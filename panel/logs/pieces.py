"""Where the lines of a log begin and end, in bytes; a line without end is cut into pieces of bounded length.

Pure. A cut depends on the bytes around it alone: inside a block of 16 KB (counted from the file's begin) that holds
no line end, a line is cut at the block's begin and end. So whoever reads from above, from below or from the middle of
a file finds the same pieces, and none is longer than 32 KB. Called by `rows`, `scan` and `seek`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["BLOCK", "LONGEST_PIECE", "Piece", "begin_before", "look_back", "pieces_in"]

BLOCK = 16 * 1024
LONGEST_PIECE = 2 * BLOCK


@dataclass(frozen=True, slots=True)
class Piece:
    """A line, or a part of one that is too long.

    Attributes:
        at: byte offset of its first byte in the file.
        data: its bytes, without the line end.
        end: offset of the next piece.
        whole: False when it goes on in the next piece, or has no end yet.
    """

    at: int
    data: bytes
    end: int
    whole: bool


def pieces_in(data: bytes, offset: int) -> Iterator[Piece]:
    """Yields the pieces in `data`; what stands before the first line end or cut counts as a piece of its own.

    Args:
        data: bytes of the file.
        offset: where in the file they begin.
    """
    start = 0
    for end in _ends(data, offset):
        whole = data[end - 1 : end] == b"\n"
        yield Piece(offset + start, data[start : end - whole], offset + end, whole)
        start = end


def _ends(data: bytes, offset: int) -> Iterator[int]:
    """Yields where pieces end, the last one at the end of the data."""
    at = 0
    while at < len(data):
        # The first whole block of the file at or after `at`.
        block = -(-(offset + at) // BLOCK) * BLOCK - offset
        newline = data.find(b"\n", at, block + BLOCK)
        if newline >= 0:
            at = newline + 1
        elif block + BLOCK > len(data):
            at = len(data)
        else:
            if block > at:
                yield block
            at = block + BLOCK
        yield at


def begin_before(data: bytes, offset: int) -> int:
    """Returns the offset at which the last piece before the end of `data` begins that is sure to begin one.

    Args:
        data: the bytes from `look_back(at)` to some place `at`.
        offset: what `look_back` returned.
    """
    return offset + data.rfind(b"\n") + 1


def look_back(at: int) -> int:
    """Returns from where one has to read to know where the piece before `at`, or at it, begins."""
    return max(0, at // BLOCK * BLOCK - BLOCK)
