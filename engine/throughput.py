"""Rates of counters over the last seconds. Pure: no clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["Throughput"]


class Throughput:
    """Remembers what counters stood at.

    Args:
        window_s: how far a rate looks back; further where nobody asked for so long.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, tuple[int, ...]]] = deque()

    def take(self, now: float, counts: Sequence[int]) -> list[float]:
        """Returns each counter's rate per second; 0 at the first call.

        Args:
            now: seconds, of any clock.
            counts: since the start, the same counters each time.
        """
        seen = self._seen
        seen.append((now, tuple(counts)))
        while now - seen[0][0] > self._window_s and len(seen) > 2:
            seen.popleft()
        then, before = seen[0]
        return [(new - old) / (now - then) if now > then else 0.0 for new, old in zip(counts, before, strict=True)]
