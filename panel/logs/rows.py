"""Windows of a log: the rows before, after and around a place, at most 64 KB of the file and a few hundred rows.

Reads a `LogFile` in bounded steps and knows no socket. Places are byte offsets, which cost nothing to know in a file of
any length, unlike line numbers. Called by the log routes and the log socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..doctor.log_line import line_parts
from .level import Level, level_of
from .log_file import LogFile
from .pieces import BLOCK, LONGEST_PIECE, Piece, begin_before, look_back, pieces_in
from .restart_line import is_restart_line

__all__ = [
    "Row",
    "Window",
    "begin_of",
    "level_above",
    "next_begin",
    "pieces_between",
    "row_of",
    "rows_after",
    "rows_around",
    "rows_before",
    "with_levels",
]

_WINDOW = 64 * 1024
_ROWS = 400
_LEVEL_CONTEXT = 8 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A line as it is shown.

    Attributes:
        at: byte offset of the line in the file.
        end: offset of the next row.
        text: clean; the states of a progress bar stand in lines below each other.
        level: its own, or the one of the line that it continues.
        says_level: False when the level is that of a line above.
        whole: False for a part of a longer line, and for the last line while it has no end.
        restart: True for the line that separates two starts of the process.
    """

    at: int
    end: int
    text: str
    level: Level
    says_level: bool
    whole: bool
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that follow each other in the file.

    Attributes:
        start: offset of the first one.
        end: offset of what follows the last one; an unfinished last line is shown and not counted in.
        size: of the file.
        binary: the bytes are not text.
    """

    rows: tuple[Row, ...]
    start: int
    end: int
    size: int
    binary: bool = False


def row_of(piece: Piece) -> Row:
    """Returns the piece as it is shown, with the level that it says itself."""
    text = "\n".join(line_parts(piece.data))
    level = level_of(text)
    return Row(piece.at, piece.end, text, level, level is not Level.NONE, piece.whole, is_restart_line(text))


def begin_of(file: LogFile, at: int) -> int:
    """Returns a place at which a row begins: `at` or one before it, 32 KB away at most."""
    low = look_back(at)
    return begin_before(file.read(low, at), low)


def pieces_between(file: LogFile, start: int, end: int) -> list[Piece]:
    """Returns the pieces that begin in `start` to `end`; `start` must begin one, if the file has not changed."""
    data = file.read(start, end + LONGEST_PIECE)
    return [piece for piece in pieces_in(data, start) if piece.at < end]


def next_begin(file: LogFile, at: int) -> int:
    """Returns where the first row begins that does not begin before `at`."""
    begin = begin_of(file, at)
    return at if begin == at else pieces_between(file, begin, at)[-1].end


def rows_before(file: LogFile, at: int) -> Window:
    """Returns the rows that end at `at`, or before the end of a file that has become shorter."""
    size = file.size
    end = min(at, size)
    begin = begin_of(file, max(0, end - _WINDOW))
    pieces = list(pieces_in(file.read(begin, end), begin))
    return _window(file, pieces[-_ROWS:], size)


def rows_after(file: LogFile, at: int) -> Window:
    """Returns the rows from `at` on; empty at the end, and where the file has become shorter."""
    size = file.size
    if at >= size:
        return Window((), size, size, size)
    return _window(file, pieces_between(file, at, min(size, at + _WINDOW))[:_ROWS], size)


def rows_around(file: LogFile, at: int) -> Window:
    """Returns rows on both sides of the line that contains offset `at`."""
    size = file.size
    begin = begin_of(file, min(max(0, at - _WINDOW // 2), size))
    pieces = pieces_between(file, begin, min(size, begin + _WINDOW))
    place = next((index for index, piece in enumerate(pieces) if piece.end > at), len(pieces))
    first = max(0, place - _ROWS // 2)
    return _window(file, pieces[first : first + _ROWS], size)


def _window(file: LogFile, pieces: Sequence[Piece], size: int) -> Window:
    if not pieces:
        return Window((), 0, 0, size)
    rows = with_levels((row_of(piece) for piece in pieces), level_above(file, pieces[0].at))
    last = pieces[-1]
    open_end = not last.whole and last.end >= size
    binary = any(b"\0" in piece.data for piece in pieces) or _is_noise(pieces)
    return Window(rows, pieces[0].at, last.at if open_end else last.end, size, binary)


def with_levels(rows: Iterable[Row], above: Level) -> tuple[Row, ...]:
    """Returns the rows where each that says no level has the one of the row above it.

    Args:
        rows: in the order of the file.
        above: of the line before the first one.
    """
    found: list[Row] = []
    for row in rows:
        if row.says_level:
            above = row.level
        found.append(row if row.says_level else replace(row, level=above))
    return tuple(found)


def level_above(file: LogFile, at: int) -> Level:
    """Returns the level of the nearest line above `at` that says one, NONE when none is near."""
    low = max(0, at - _LEVEL_CONTEXT)
    above = list(pieces_in(file.read(low, at), low))
    # The first one may be half a line.
    for piece in reversed(above if low == 0 else above[1:]):
        if (level := row_of(piece).level) is not Level.NONE:
            return level
    return Level.NONE


def _is_noise(pieces: Sequence[Piece]) -> bool:
    sample = b"".join(piece.data for piece in pieces)[:BLOCK]
    broken = sum(1 for char in sample.decode("utf-8", "replace") if char == "\ufffd")
    return broken > max(16, len(sample) // 20)
