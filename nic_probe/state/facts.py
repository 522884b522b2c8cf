"""Facts with their types made sure of: what a dump or the live probe gathered beside the kernel's files.

A capture may come from anybody, so nothing here trusts the shape of a value: a wrong one is a `Reading` with the
reason. Called by the readers beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..reading import Reading

__all__ = ["Facts", "as_bool", "as_int", "as_mapping", "as_text", "as_texts"]

T = TypeVar("T")


class Facts:
    """The facts of one host.

    Args:
        values: what `HostFiles.facts` returned.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def has(self, key: str) -> bool:
        """True when there is such a fact, of whatever shape."""
        return key in self._values

    def read(self, key: str, convert: Callable[[object], T | None], expected: str) -> Reading[T]:
        """Returns the fact `key` put through `convert`, whose None means that it is not what was `expected`."""
        source = f"facts: {key}"
        if key not in self._values:
            return Reading.unreadable(source, "is not among the facts")
        value = convert(self._values[key])
        if value is None:
            return Reading.unreadable(source, f"reads {str(self._values[key])[:60]!r}, which is not {expected}")
        return Reading(value, source)

    def table(self, key: str, convert: Callable[[object], T | None], expected: str) -> Reading[Mapping[str, T]]:
        """Returns the fact `key` as a mapping by text; entries that `convert` turns down are left out."""

        def entries(value: object) -> Mapping[str, T] | None:
            mapping = as_mapping(value)
            if mapping is None:
                return None
            converted = ((name, convert(entry)) for name, entry in mapping.items())
            return {name: entry for name, entry in converted if entry is not None}

        return self.read(key, entries, expected)


def as_mapping(value: object) -> Mapping[str, object] | None:
    """Returns a JSON object, without keys that are no text."""
    if not isinstance(value, Mapping):
        return None
    return {key: entry for key, entry in value.items() if isinstance(key, str)}


def as_text(value: object) -> str | None:
    """Returns a JSON string."""
    return value if isinstance(value, str) else None


def as_texts(value: object) -> tuple[str, ...] | None:
    """Returns a JSON array as its strings."""
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list | tuple) else None


def as_bool(value: object) -> bool | None:
    """Returns a JSON boolean."""
    return value if isinstance(value, bool) else None


def as_int(value: object) -> int | None:
    """Returns a JSON number without a fraction; a boolean is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
