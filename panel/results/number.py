"""Numbers as benchmarks print them: digits, a point for fractions, commas between thousands at most.

Pure. A number of another country's form is refused, not guessed at: 1.234,56 and 12,5 may mean anything. Called by
the dialects.
"""

from __future__ import annotations

import math
import re

__all__ = ["RefusedNumberError", "is_unknown", "read_count", "read_number", "value_number"]

_NUMBER = re.compile(r"[+-]?(?:\d{1,18}|\d{1,3}(?:,\d{3}){1,5})(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_UNKNOWN = frozenset({"", "-", "n/a", "na", "nan", "none", "null", "not set", "trace"})
_INFINITE = frozenset({"inf", "+inf", "infinity"})
_MOST_COUNT = 10**18


class RefusedNumberError(ValueError):
    """Raised when a text is neither a number of this form nor a word for an unknown one."""


def is_unknown(text: str) -> bool:
    """Returns True for a word that stands where a number is not known."""
    return text.strip().lower() in _UNKNOWN


def read_number(text: str) -> float | None:
    """Returns the number; None when it is unknown or below 0, which stands for unknown; may be infinite.

    Raises:
        RefusedNumberError: it is written otherwise.
    """
    text = text.strip()
    if is_unknown(text):
        return None
    if text.lower() in _INFINITE:
        return math.inf
    if not _NUMBER.fullmatch(text):
        raise RefusedNumberError(text)
    number = float(text.replace(",", ""))
    return None if number < 0 else number


def read_count(text: str) -> int | None:
    """Returns the whole number, None when it is unknown.

    Raises:
        RefusedNumberError: it is written otherwise or is not whole.
    """
    number = read_number(text)
    if number is None or math.isinf(number):
        return None
    if number != int(number) or number > _MOST_COUNT:
        raise RefusedNumberError(text)
    return int(number)


def value_number(value: object) -> float | None:
    """Returns the number of a JSON value; None when it is none, below 0 or nan; may be infinite."""
    if isinstance(value, str):
        try:
            return read_number(value)
        except RefusedNumberError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) or number < 0 else number
