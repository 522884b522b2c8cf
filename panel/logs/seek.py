"""The place in a log at which a time is reached, found by halving: a few reads in a file of any length.

Times are compared as they are written, since a log's hours are whatever its process took them for. Lines that stand in
the wrong order by a little are no harm. Called by the log routes.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ...engine.errors import RequestError
from ..doctor.log_line import time_of
from .log_file import LogFile
from .pieces import Piece, pieces_in
from .rows import begin_of, row_of

__all__ = ["moment_of", "place_of_time", "read_wish"]

_LOOK = 64 * 1024
_NEAR = 32 * 1024
_TZ = re.compile(r"(?:Z|[+-]\d\d:?\d\d)\Z")
_FRACTION = re.compile(r"[.,]\d+\Z")
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y%m%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_WITHOUT_YEAR = ("%Y%m%d %H:%M:%S", "%Y%m-%d %H:%M:%S", "%Y%m/%d %H:%M:%S")
_OF_DAY = ("%H:%M:%S", "%H:%M")


def moment_of(text: str, year: int) -> datetime | None:
    """Returns the time that `log_line.time_of` found, without a zone; None for one that counts from the boot.

    Args:
        text: the time as the log writes it.
        year: of times that are written without one.
    """
    plain = _TZ.sub("", text.strip())
    fraction = _FRACTION.search(plain)
    plain = plain[: fraction.start()] if fraction else plain
    micros = int((fraction.group()[1:] + "000000")[:6]) if fraction else 0
    for form, value in (*((form, plain) for form in _FORMS), *((form, f"{year}{plain}") for form in _WITHOUT_YEAR)):
        try:
            return datetime.strptime(value, form).replace(microsecond=micros)
        except ValueError:
            continue
    return None


def read_wish(text: str, newest: datetime) -> datetime:
    """Returns the time that a person asks for: a date with a time, or a time of the day before `newest`.

    Raises:
        RequestError: it is none.
    """
    if (moment := moment_of(text, newest.year)) is not None:
        return moment
    for form in _OF_DAY:
        try:
            clock = datetime.strptime(text.strip(), form).time()
        except ValueError:
            continue
        found = datetime.combine(newest.date(), clock)
        return found if found <= newest else found - timedelta(days=1)
    raise RequestError("time", text, "is not a time", "write 14:03:22, or 2026-11-21 14:03:22")


def place_of_time(file: LogFile, text: str) -> int:
    """Returns where the first line stands that was written at this time or later; the end for a later time.

    Raises:
        RequestError: `text` is not a time, or the log's lines tell none.
    """
    size = file.size
    year = datetime.fromtimestamp(file.changed_at).year
    newest = _newest(file, size, year)
    if newest is None:
        raise RequestError("time", text, "cannot be found, since the lines of this log tell no time", "search for text")
    wanted = read_wish(text, newest)
    low, high = 0, size
    while high - low > _NEAR:
        middle = begin_of(file, (low + high) // 2)
        if middle <= low:
            break
        found = _first(file, middle, min(high, middle + _LOOK), year)
        if found is None or found[1] >= wanted:
            high = middle
        else:
            low = found[0].end
    at = low
    while at < size:
        end = min(size, at + _LOOK)
        begin = at
        for piece in pieces_in(file.read(at, end + _NEAR), at):
            if piece.at >= end:
                break
            moment = _moment(piece, year)
            if moment is not None and moment >= wanted:
                return piece.at
            begin = piece.end
        if begin >= high + 4 * _LOOK or begin <= at:
            return begin
        at = begin
    return size


def _moment(piece: Piece, year: int) -> datetime | None:
    text = row_of(piece).text
    return moment_of(time, year) if (time := time_of(text)) else None


def _first(file: LogFile, start: int, end: int, year: int) -> tuple[Piece, datetime] | None:
    for piece in pieces_in(file.read(start, end), start):
        if (moment := _moment(piece, year)) is not None:
            return piece, moment
    return None


def _newest(file: LogFile, size: int, year: int) -> datetime | None:
    begin = begin_of(file, max(0, size - 4 * _LOOK))
    for piece in reversed(list(pieces_in(file.read(begin, size), begin))):
        if (moment := _moment(piece, year)) is not None:
            return moment
    # The end of a log may be one long traceback: then its begin says what there is to compare with.
    found = _first(file, 0, min(size, 4 * _LOOK), year)
    return None if found is None else found[1]
