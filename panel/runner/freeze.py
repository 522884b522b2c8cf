"""Kills processes that stand stopped by a signal: they hold their ports and answer nobody.

One look a second over all of them. When that is long enough is `runner.restart`'s decision.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping

from .book import Book
from .journal import Journal
from .lifecycle import ProcessState
from .procfs import read_stat, send_signal
from .restart import Restarts

__all__ = ["FROZEN", "FreezeWatch"]

FROZEN = "stopped by a signal (SIGSTOP)"
_LOOK_S = 1.0
_LIVING = frozenset({ProcessState.STARTING, ProcessState.READY})


class FreezeWatch:
    """Looks at the processes of `book`.

    Args:
        book: the run.
        restarts: by process name, how long each may stand still.
        journal: is told of every kill.
    """

    def __init__(self, book: Book, restarts: Mapping[str, Restarts], journal: Journal) -> None:
        self._book = book
        self._restarts = restarts
        self._journal = journal
        self._frozen: set[str] = set()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for process in self._book.processes:
                if process.pid is not None and process.state in _LIVING:
                    self._look(process.name, process.pid, process.start_ticks)

    def was_frozen(self, name: str) -> bool:
        """Returns True, once, for a process that stood still when it was last looked at."""
        found = name in self._frozen
        self._frozen.discard(name)
        return found

    def _look(self, name: str, pid: int, start_ticks: int | None) -> None:
        stat = read_stat(pid)
        if stat is None or stat.start_ticks != start_ticks:
            return
        left_s = self._restarts[name].seen(frozen=stat.state == "T", now=time.monotonic())
        if left_s is None:
            if self.was_frozen(name):
                self._book.change(name, stage="")
            return
        self._frozen.add(name)
        self._book.change(name, stage=f"{FROZEN}; killed in {left_s:.0f} s unless it goes on")
        if left_s == 0:
            self._journal.say("kill", process=name, pid=pid, reason=FROZEN)
            send_signal(stat, signal.SIGKILL)
