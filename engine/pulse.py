"""Tells time that passed from time that this process slept through.

A stopped process (SIGSTOP, a paused virtual machine) wakes with its clocks moved on, while bytes that were sent to it
still wait in the kernel and land only now. Whoever lifts a fence by the clock must not count that time. Pure: the
clock's value is passed in.
"""

from __future__ import annotations

__all__ = ["LONGEST_GAP_S", "Pulse"]

# Between two ticks of a step loop that runs lies one forward pass; a chunk on a slow CPU takes seconds.
LONGEST_GAP_S = 5.0


class Pulse:
    """Watches the gaps between calls."""

    def __init__(self) -> None:
        self._last: float | None = None

    def gap(self, now: float) -> float:
        """Returns the seconds since the last call."""
        last, self._last = self._last, now
        return 0.0 if last is None else now - last

    def lost(self, now: float) -> float:
        """Returns the seconds since the last call that this process did not run: what exceeds LONGEST_GAP_S."""
        return max(0.0, self.gap(now) - LONGEST_GAP_S)
