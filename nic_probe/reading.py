"""A Reading: a value, or the reason why it could not be read.

Hardware facts go missing one by one: a file that a driver does not write, a counter that needs root. As
values such gaps travel through the program and reach the screen with their reason, where an exception would
hide everything beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Reading"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one source said.

    Attributes:
        value: what was read; None when it could not be read.
        source: the file or library that was asked.
        reason: why there is no value; empty when there is one.
    """

    value: T | None
    source: str = ""
    reason: str = ""

    @classmethod
    def unreadable(cls, source: str, reason: str) -> Reading[T]:
        """Returns a reading without a value."""
        return cls(None, source, reason)

    @property
    def known(self) -> bool:
        """True when there is a value."""
        return self.value is not None

    def otherwise(self, default: T) -> T:
        """Returns the value, or `default` when there is none."""
        return default if self.value is None else self.value

    def convert(self, function: Callable[[T], U | None], expected: str) -> Reading[U]:
        """Returns the reading with its value put through `function`.

        A ValueError or a None becomes a reading whose reason names the text and what was `expected`.
        """
        if self.value is None:
            return Reading(None, self.source, self.reason)
        try:
            converted = function(self.value)
        except ValueError:
            converted = None
        if converted is None:
            return Reading(None, self.source, f"reads {str(self.value)[:60]!r}, which is not {expected}")
        return Reading(converted, self.source)

    def __str__(self) -> str:
        return "N/A" if self.value is None else str(self.value)
