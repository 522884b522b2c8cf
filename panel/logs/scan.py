"""The search through a log, block by block, forwards or backwards, for as long as a request may take.

A scan that has not come to the end says where the next one goes on, so that a file of any size is searched by requests
that are all short. Knows no socket; the log routes call it, for an expression through `regex_child`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .level import Level, Telling
from .log_file import LogFile
from .pieces import LONGEST_PIECE, pieces_in
from .query import Query, RowTest
from .rows import Row, begin_of, level_above, next_begin, row_of

__all__ = ["Bounds", "Scan", "scan"]

_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one scan may do.

    Attributes:
        hits: after that many it ends.
        seconds: no further block is begun after that time.
        bytes: nor after that much of the file.
        text_bytes: nor after that much text of hits.
    """

    hits: int = 1000
    seconds: float = 0.25
    bytes: int = 64 << 20
    text_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found.

    Attributes:
        rows: in the order of the file, also of a backward scan.
        at: where the next scan goes on: everything between its begin and here has been looked at.
        done: the end of the file, or its begin, was reached.
        size: of the file.
    """

    rows: tuple[Row, ...]
    at: int
    done: bool
    size: int


def scan(file: LogFile, query: Query, at: int, *, backward: bool = False, bounds: Bounds | None = None) -> Scan:
    """Looks for `query` from place `at` on, or from there back.

    Args:
        file: the log.
        query: what to look for.
        at: a place at which a row begins; a backward scan ends before it.
        backward: look at what stands before `at`.
        bounds: how much may be done; there are defaults.

    Raises:
        RequestError: the query is too long or no expression.
    """
    bounds = bounds or Bounds()
    wanted = _Wanted(query)
    size = file.size
    place = min(at, size)
    deadline = time.monotonic() + bounds.seconds
    found: list[Row] = []
    text_bytes = 0
    step = min(_STEP, bounds.bytes)
    seen = 0
    while True:
        if backward:
            begin, end = begin_of(file, max(0, place - step)), place
            data = file.read(begin, end)
        else:
            begin, end = place, min(size, place + step)
            data = file.read(begin, end + LONGEST_PIECE)
        most = None if backward else bounds.hits - len(found)
        hits = wanted.among(data, begin, end, file, most)
        fitting = _fitting(hits, bounds, len(found), text_bytes, backward)
        found = [*fitting, *found] if backward else [*found, *fitting]
        text_bytes += sum(row.end - row.at for row in fitting)
        full = len(fitting) < len(hits)
        if full and fitting:
            place = fitting[0].at if backward else fitting[-1].end
        elif full:
            place = hits[-1].end if backward else hits[0].at
        elif backward:
            place = begin
        else:
            place = size if end >= size else next_begin(file, end)
        seen += end - begin
        done = not full and (place <= 0 if backward else place >= size)
        enough = full or len(found) >= bounds.hits or seen >= bounds.bytes or time.monotonic() >= deadline
        if done or enough:
            if done and not backward and file.read(size - 1, size) != b"\n":
                place = begin_of(file, size)  # the last line may go on
            return Scan(tuple(found), place, done, size)


def _fitting(hits: Sequence[Row], bounds: Bounds, count: int, text_bytes: int, backward: bool) -> list[Row]:
    """Returns those of the hits, from the near end on, that one answer has room for: one at least."""
    kept: list[Row] = []
    for row in reversed(hits) if backward else hits:
        text_bytes += row.end - row.at
        if count + len(kept) >= bounds.hits or (text_bytes > bounds.text_bytes and count + len(kept) > 0):
            break
        kept.append(row)
    return kept[::-1] if backward else kept


class _Wanted:
    """Picks the rows of one block, and looks at no line that cannot be one of them."""

    def __init__(self, query: Query) -> None:
        self._test = RowTest(query)
        self._least = query.level

    def among(self, data: bytes, offset: int, end: int, file: LogFile, most: int | None) -> list[Row]:
        """Returns the rows that begin before `end`.

        Args:
            data: bytes of the file, from the begin of a row on.
            offset: where they begin.
            end: where in the file the block ends; `data` may hold more.
            file: the file.
            most: when there are more rows than that, one of those is enough to know of; None for all.
        """
        # Without a level to look for nobody needs to know which line a line continues.
        above = level_above(file, offset) if self._least else Level.NONE
        candidate = self._candidates(data)
        rows: list[Row] = []
        at = 0
        while offset + at < end and (most is None or len(rows) <= most):
            if above < self._least or not self._least:
                place = candidate(at)
                if place < 0 or offset + place >= end + LONGEST_PIECE:
                    break
                at = max(at, data.rfind(b"\n", at, place) + 1)
            newline = data.find(b"\n", at)
            line_end = newline + 1 if newline >= 0 else len(data)
            for piece in pieces_in(data[at:line_end], offset + at):
                if piece.at >= end:
                    break
                row = row_of(piece)
                above = row.level if row.says_level else above
                if self._test.holds(row := replace(row, level=above)):
                    rows.append(row)
            at = line_end
        return rows

    def _candidates(self, data: bytes) -> Callable[[int], int]:
        if not self._least:
            return self._test.candidates(data)
        if self._least >= Level.WARNING:
            return Telling(data).after
        return lambda start: start
