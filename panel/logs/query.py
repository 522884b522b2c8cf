"""What is looked for in a log: a text or an expression, and how grave a line has to be.

Pure; judges one row. Called by `scan`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...engine.errors import RequestError
from .level import Level
from .rows import Row

__all__ = ["LONGEST_QUERY", "Query", "RowTest"]

LONGEST_QUERY = 500
_COLOUR = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; every part that is set must hold.

    Attributes:
        text: to be found in the line; empty for any line.
        regex: `text` is a regular expression.
        case: letter case matters.
        level: the least level that a line has, said by itself or by the line that it continues.
    """

    text: str = ""
    regex: bool = False
    case: bool = False
    level: Level = Level.NONE


class RowTest:
    """Tells whether a row is what `query` looks for.

    Raises:
        RequestError: the query is too long, or no expression.
    """

    def __init__(self, query: Query) -> None:
        if len(query.text) > LONGEST_QUERY:
            problem = f"has {len(query.text)} characters"
            raise RequestError("query", query.text, problem, f"search for at most {LONGEST_QUERY}")
        flags = 0 if query.case else re.IGNORECASE
        try:
            self._pattern = re.compile(query.text if query.regex else re.escape(query.text), flags)
        except (re.error, OverflowError, RecursionError) as error:
            remedy = "mend it, or switch the expression off to search for the text as it is"
            raise RequestError("query", query.text, f"is not a regular expression: {error}", remedy) from None
        self._level = query.level
        self._text = bool(query.text)
        self._any_case = not query.case
        # Bytes that every line with the text holds as they are; not known of an expression, nor of letters that have
        # two cases and several bytes.
        plain = not query.regex and self._text and (query.case or query.text.isascii())
        self._needle = (query.text.encode() if query.case else query.text.lower().encode()) if plain else b""

    def candidates(self, data: bytes) -> Callable[[int], int]:
        """Returns what tells, of a place in `data`, where the next line that may hold the text has it; -1 for nowhere.

        Where that cannot be told from the bytes it is the place itself.
        """
        if not self._needle:
            return lambda start: start
        lowered = data.lower() if self._any_case else data
        if b"\x1b" in data:
            # The text may be found across a change of colour, but only where it is once the colours are gone.
            plain = _COLOUR.sub(b"", lowered)
            absent = b"\x1b" not in plain and self._needle not in plain
            return lambda start: -1 if absent else start
        return lambda start: lowered.find(self._needle, start)

    def holds(self, row: Row) -> bool:
        """Returns True for a row that is looked for."""
        if row.level < self._level:
            return False
        return not self._text or self._pattern.search(row.text) is not None
