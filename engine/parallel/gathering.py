"""Slices of pages in one piece: copies the heads that go to one rank of a peer into bounce memory, and takes it back.

Room is waited for a moment, since what travels makes some soon; a peer that stands still must not hold up the others,
so that after it those slices go without. One rank's carrier uses it; `bounce` says who has which place.
"""

from __future__ import annotations

import sys
import threading
import time

from ..kv import KVCache
from ..pages import Runs
from ..transfer.heads import Spot
from ..transfer.plan import slice_runs
from .bounce import Bounce
from .orders import Written

__all__ = ["Gathering"]

_PATIENCE_S = 0.05


class Gathering:
    """A rank's bounce memory.

    Args:
        kv: whose staging memory has bounce pages.
        hard_timeout_s: after which a failed write provably reads no memory any more.
    """

    def __init__(self, kv: KVCache, hard_timeout_s: float) -> None:
        self._kv = kv
        self._hard_timeout_s = hard_timeout_s
        self._size = kv.bounce_heads
        self._bounce = Bounce(self._size)
        self._freed = threading.Condition()

    @property
    def in_use(self) -> int:
        """Heads of pages that somebody may still write or read."""
        with self._freed:
            return self._bounce.in_use(time.monotonic())

    def pages_at_once(self, width: int) -> int:
        """Returns of how many pages slices of `width` heads together have room; any number, where no page's have."""
        return self._size // width or sys.maxsize

    def await_room(self, heads: int) -> None:
        """Waits a moment until that many heads of pages are free."""
        with self._freed:
            if heads <= self._size:
                self._freed.wait_for(lambda: self._bounce.free >= heads, _PATIENCE_S)

    def gather(self, key: int, staging: Runs, heads: range) -> tuple[Spot, ...]:
        """Copies as many of the pages' slices as there is room for; returns where they stand.

        Args:
            key: gives the room back: see `free`.
            heads: which of the rank's heads, counted from its first.
        """
        pages, width = sum(run.count for run in staging), len(heads)
        with self._freed:
            runs = self._bounce.take(key, pages, width, time.monotonic())
        self._kv.gather(slice_runs(staging, 0, sum(run.count for run in runs) // width), heads, runs)
        size, start = self._kv.cells.head_bytes, self._kv.bounce_start
        return tuple(Spot(start + run.start * size, run.count // width) for run in runs)

    def free(self, key: int, written: Written) -> None:
        """Takes back what `key` has now that its write has ended: at once where nobody reads it any more."""
        with self._freed:
            if written.quiet:
                self._bounce.release(key)
                self._freed.notify_all()
            else:
                self._bounce.hold(key, time.monotonic() + self._hard_timeout_s)
