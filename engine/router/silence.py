"""How long a worker with requests has been without a word although it was asked how it is.

Silence begins with the first question that stays without an answer, or behind the last thing that the worker sent after
that, an event of a stream for one. So a stop is noticed within HealthConfig.stop_noticed_s of it, whatever the worker
sent just before; and a worker that is slow for one question is not given up. Pure: `health` passes the time in.
"""

from __future__ import annotations

from .config import HealthConfig

__all__ = ["Silence"]


class Silence:
    """One worker's silence."""

    __slots__ = ("_longest_s", "_since")

    def __init__(self, config: HealthConfig) -> None:
        self._longest_s = config.longest_silence
        self._since: float | None = None

    def asked(self, now: float) -> None:
        """Notes a question to a worker that has requests."""
        if self._since is None:
            self._since = now

    def heard(self, at: float) -> None:
        """Notes when the worker last sent anything."""
        if self._since is not None:
            self._since = max(self._since, at)

    def end(self) -> None:
        """Notes an answer, or that nobody can tell."""
        self._since = None

    def left(self, now: float) -> float:
        """Returns the seconds until the worker is taken for dead; none are left at 0."""
        return self._longest_s if self._since is None else max(0.0, self._since + self._longest_s - now)
