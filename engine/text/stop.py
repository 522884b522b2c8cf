"""Stop strings in a stream of text.

Holds back what may be the beginning of a stop string until it is decided. Knows nothing of tokens; called by
`engine.text.stream`.
"""

from __future__ import annotations

__all__ = ["StopMatcher"]


class StopMatcher:
    """Finds the first stop string in text that arrives in pieces.

    The first is the one that is complete first, as a reader who goes character by character would see it; of
    several that end at the same character, the longest. How the text is cut into pieces makes no difference.

    Args:
        stops: the stop strings; empty ones are ignored.
        trim: leave the stop string out of the text.
    """

    def __init__(self, stops: tuple[str, ...], trim: bool = True) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._trim = trim
        self._held = ""
        self._matched: str | None = None

    @property
    def matched(self) -> str | None:
        """The stop string that was found, None so far."""
        return self._matched

    def push(self, text: str) -> tuple[str, str | None]:
        """Returns the text that is safe to show and, once, the stop string found; nothing follows a match."""
        if self._matched is not None:
            return "", None
        text = self._held + text
        self._held = ""
        found = [(at + len(stop), -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, _, stop = min(found)
            self._matched = stop
            return text[: end - len(stop) if self._trim else end], stop
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut], None

    def flush(self) -> str:
        """Returns what is held, which no longer can become a stop string because the text is over."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Returns the length of the longest end of `text` that is a beginning, but not the whole, of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
