"""Counts the reports of answers that ended before their time, each with the run in which it stands.

Pure. Known from SGLang with DeepSeek-V3 and Llama-3.1-405B on ROCm at 512 and more requests at once.
"""

from __future__ import annotations

from .observed import Line, TransferErrors

__all__ = ["TransferErrorCount", "reports_transfer_error"]

_SIGNS = ("TransferEncodingError", "Not enough data to satisfy transfer length header")
_KEPT = 5
_SHOWN_CHARACTERS = 240
_SHOWN_BEFORE = 120


def reports_transfer_error(text: str) -> bool:
    """Returns True for a text that names the error."""
    return any(sign in text for sign in _SIGNS)


class TransferErrorCount:
    """The errors of one file; those of a run wait for its concurrency until the run is over."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[Line] = []
        self._concurrencies: set[int] = set()
        self._waiting = False

    def add(self, line: int, text: str) -> None:
        """Notes one report."""
        self._count += 1
        self._waiting = True
        if len(self._first) < _KEPT:
            sign = min(text.find(sign) for sign in _SIGNS if sign in text)
            start = 0 if sign < _SHOWN_BEFORE else sign - _SHOWN_BEFORE
            self._first.append(Line(line, text[start : start + _SHOWN_CHARACTERS]))

    def end_run(self, concurrency: int | None) -> None:
        """Says with which concurrency the reports since the last call were made."""
        if self._waiting and concurrency is not None:
            self._concurrencies.add(concurrency)
        self._waiting = False

    def total(self) -> TransferErrors:
        """Returns what was counted."""
        return TransferErrors(self._count, tuple(self._first), frozenset(self._concurrencies))
