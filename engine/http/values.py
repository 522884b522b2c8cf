"""Typed reads of one field of a JSON object.

Every read returns its default for a field that is absent or null, and otherwise a value of the right type and
range or a `RequestError` that names the field, the value and what to send. Knows no field by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..errors import RequestError

__all__ = ["JsonObject", "Reader"]

JsonObject = Mapping[str, Any]
_T = TypeVar("_T")
_D = TypeVar("_D")


class Reader:
    """Reads the fields of one JSON object.

    Args:
        body: the object.
        path: where it stands in the request, such as "sampling_params"; empty for the body itself.
    """

    def __init__(self, body: JsonObject, path: str = "") -> None:
        self._body = body
        self._path = path

    def name(self, field: str) -> str:
        """Returns the field's name as errors show it."""
        return f"{self._path}.{field}" if self._path else field

    def has(self, field: str) -> bool:
        """True when the field is there and not null."""
        return self._body.get(field) is not None

    def given(self, field: str) -> bool:
        """True when the field is there, be it null."""
        return field in self._body

    def raw(self, field: str) -> Any:
        """Returns the value as it came, None when absent."""
        return self._body.get(field)

    def refuse(self, field: str, problem: str, remedy: str) -> RequestError:
        """Returns the error about `field`."""
        return RequestError(self.name(field), self._body.get(field), problem, remedy)

    def first(self, *fields: str) -> str:
        """Returns the one of several names for the same thing that is used; the last when none is.

        Raises:
            RequestError: two of them are given with different values.
        """
        used = [field for field in fields if self.has(field)]
        for field in used[1:]:
            if self._body[field] != self._body[used[0]]:
                raise self.refuse(field, f"it contradicts {self.name(used[0])}", "send one of the two")
        return used[0] if used else fields[-1]

    def boolean(self, field: str, default: bool) -> bool:
        """Returns true or false."""
        return self._typed(field, bool, default, "not true or false", "send true or false")

    def text(self, field: str, default: str, *, longest: int | None = None) -> str:
        """Returns a string of at most `longest` characters."""
        text = self._typed(field, str, default, "not a string", "send a string")
        if longest is not None and len(text) > longest:
            raise self.refuse(field, "too long", f"send at most {longest} characters")
        return text

    def object(self, field: str) -> JsonObject:
        """Returns a JSON object, an empty one by default."""
        return self._typed(field, dict, {}, "not a JSON object", "send an object")

    def whole(self, field: str, default: _D, low: int, high: int) -> int | _D:
        """Returns a whole number from `low` to `high`; 3.0 counts as 3, true does not count as 1."""
        value = self._body.get(field)
        if value is None:
            return default
        allowed = f"send a whole number from {low} to {high}"
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(field, "not a whole number", allowed)
        if not low <= value <= high:
            raise self.refuse(field, "out of range", allowed)
        return value

    def number(self, field: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """Returns a finite number from `low` (above it, when `above`) to `high`."""
        value = self._body.get(field)
        if value is None:
            return default
        start = f"above {low:g}" if above else f"from {low:g}"
        allowed = f"send a number {start}" + (f" to {high:g}" if high < math.inf else "")
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self.refuse(field, "not a number", allowed)
        if not low <= value <= high or (above and value == low):
            raise self.refuse(field, "out of range", allowed)
        return float(value)

    def strings(self, field: str, *, most: int, longest: int) -> tuple[str, ...]:
        """Returns a string or a list of strings as a tuple; none of them empty."""
        value = self._body.get(field)
        if value is None:
            return ()
        remedy = f"send a string or a list of up to {most} strings of 1 to {longest} characters"
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self.refuse(field, "not a string or a list of strings", remedy)
        if len(texts) > most:
            raise self.refuse(field, f"{len(texts)} strings are too many", remedy)
        if any(not 1 <= len(text) <= longest for text in texts):
            raise self.refuse(field, "a string in it is empty or too long", remedy)
        return tuple(texts)

    def token_ids(self, field: str, vocab_size: int) -> tuple[int, ...]:
        """Returns a list of token ids of the vocabulary as a tuple."""
        return self.as_token_ids(field, self._body.get(field), vocab_size)

    def as_token_ids(self, field: str, value: object, vocab_size: int) -> tuple[int, ...]:
        """Returns `value`, which came in `field`, as token ids."""
        if value is None:
            return ()
        remedy = f"send a list of whole numbers from 0 to {vocab_size - 1}"
        if not isinstance(value, list):
            raise self.refuse(field, "not a list of token ids", remedy)
        place = _first_wrong(value, vocab_size)
        if place is not None:
            at = f"{self.name(field)}[{place}]"
            wrong = value[place]
            is_whole = isinstance(wrong, int) and not isinstance(wrong, bool)
            problem = "no token of the vocabulary" if is_whole else "not a token id"
            raise RequestError(at, wrong, problem, remedy)
        return tuple(value)

    def _typed(self, field: str, kind: type[_T], default: _T, problem: str, remedy: str) -> _T:
        value = self._body.get(field)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise self.refuse(field, problem, remedy)
        return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False


def _first_wrong(values: Iterable[object], vocab_size: int) -> int | None:
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocab_size:
            return place
    return None
