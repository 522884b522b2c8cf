"""What a rank costs: seconds in passes, seconds of them waiting for other ranks, processor seconds, resident memory.

Written by the thread that computes, read by whoever reports.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..resident import processor_seconds, resident_bytes
from .collective import Collective
from .frames import Pulse

__all__ = ["Meter"]


class Meter:
    """One rank's counters, in seconds since its start."""

    def __init__(self) -> None:
        self._born = time.perf_counter()
        self._computed_s = 0.0
        self._pass_began: float | None = None
        self._waited_s = 0.0
        self._collective: Collective | None = None

    def exchanges_in(self, collective: Collective) -> None:
        """Counts what waits in this group from now on, beside what waited in those before it."""
        self._waited_s, self._collective = self.wait_s, collective

    @property
    def wait_s(self) -> float:
        """Seconds in exchanges with other ranks, their data on its way included."""
        return self._waited_s + (self._collective.waited_s if self._collective is not None else 0.0)

    @property
    def compute_s(self) -> float:
        """Seconds in passes, the one that goes on now included."""
        began = self._pass_began
        return self._computed_s + (time.perf_counter() - began if began is not None else 0.0)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Counts a pass."""
        began = self._pass_began = time.perf_counter()
        try:
            yield
        finally:
            self._pass_began = None
            self._computed_s += time.perf_counter() - began

    def pulse(self, rank: int, bounce: int = 0) -> Pulse:
        """Returns the counters as they are.

        Args:
            bounce: heads of pages in the rank's bounce memory that are in use.
        """
        lived_s = time.perf_counter() - self._born
        return Pulse(rank, self.compute_s, self.wait_s, processor_seconds(), resident_bytes(), bounce, lived_s)
