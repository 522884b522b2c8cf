"""Keeps the sentence from flickering: a new limit is told once it has been found several times in a row. Pure."""

from __future__ import annotations

from .values import Limit, Verdict

__all__ = ["Steady"]

# Judgements in a row that a new limit takes. They share most of a window, so one odd row moves two of them.
_NEEDED = 3
# A limit whose relief would still give this much is no wrong answer while another one rises.
_STILL = 1.05


class Steady:
    """The verdicts of one run, in the order in which they were made."""

    def __init__(self) -> None:
        self._shown: Verdict | None = None
        self._shown_limit = Limit.UNKNOWN
        self._other = Limit.UNKNOWN
        self._times = 0

    def next(self, found: Verdict) -> Verdict:
        """Takes a verdict; returns the one to show."""
        if self._shown is None or found.limit is self._shown_limit or not self._holds(found):
            return self._show(found)
        self._times = self._times + 1 if found.limit is self._other else 1
        self._other = found.limit
        return self._show(found) if self._times >= _NEEDED else self._shown

    def _show(self, found: Verdict) -> Verdict:
        self._shown, self._shown_limit, self._times = found, found.limit, 0
        return found

    def _holds(self, found: Verdict) -> bool:
        """Returns whether the shown limit may stand although another was found."""
        if Limit.UNKNOWN in (found.limit, self._shown_limit):
            return False
        # No load at all is seen at once; a pause between two bursts is not.
        return bool(found.gains) and (
            self._shown_limit is Limit.NOTHING or found.gains.get(self._shown_limit, 1.0) >= _STILL
        )
