"""What was read before, so that counters become rates and histograms become what was observed lately.

Pure: times are given, never asked for. A program that was started anew makes a gap, not a negative rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from .histogram import Histogram

__all__ = ["Rates", "Windows"]


class Rates:
    """The counters of the look before, by key."""

    def __init__(self) -> None:
        self._before: dict[Hashable, tuple[float, float]] = {}

    def rate(self, key: Hashable, value: float, t: float) -> float | None:
        """Returns by how much `value` rose per second since the look before; None when nobody can know.

        Args:
            t: seconds, monotonic.
        """
        before = self._before.get(key)
        self._before[key] = (t, value)
        # A counter that went down was started anew: what happened in between is unknown.
        if before is None or value < before[1] or t <= before[0]:
            return None
        return (value - before[1]) / (t - before[0])


class Windows:
    """The histograms of the last seconds, by key.

    Args:
        seconds: how long ago the older end of a window is; one look before if that was longer ago.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks: dict[Hashable, deque[tuple[float, Histogram]]] = {}

    def observed(self, key: Hashable, histogram: Histogram, t: float) -> Histogram | None:
        """Returns what was observed within the window that ends at `t`; None when nothing was, or nobody can know."""
        looks = self._looks.setdefault(key, deque())
        if looks and histogram is not looks[-1][1] and histogram.since(looks[-1][1]) is None:
            looks.clear()
        looks.append((t, histogram))
        while len(looks) > 2 and t - looks[1][0] >= self._seconds:
            looks.popleft()
        if len(looks) < 2 or looks[0][1] is histogram:
            return None
        new = histogram.since(looks[0][1])
        return new if new is not None and new.count > 0 else None
