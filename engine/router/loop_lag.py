"""How late the router's event loop takes up work, as a histogram: what an event that comes at any time has to wait.

A router that its host or its container's CPU quota does not let run looks idle in its CPU time; here it does not. The
beats are due at fixed times, whether or not the loop was there: those that a pause has swallowed count with what each
of them waited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .distribution import Distribution

__all__ = ["LoopLag"]

_BEAT_S = 0.1
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class LoopLag:
    """Watches one event loop.

    Args:
        now: seconds of a monotonic clock; the first beat is due soon after.
    """

    def __init__(self, now: float) -> None:
        self.late = Distribution(_BOUNDS)
        self._due = now + _BEAT_S

    def beat(self, now: float) -> float:
        """Counts the beats that have become due; returns the seconds until the next one."""
        while self._due <= now:
            self.late.observe(now - self._due)
            self._due += _BEAT_S
        return self._due - now

    async def watch(self, clock: Callable[[], float]) -> None:
        """Counts on the loop that runs this, until it is cancelled."""
        while True:  # noqa: ASYNC110 (the time that passes is what is counted)
            await asyncio.sleep(self.beat(clock()))
