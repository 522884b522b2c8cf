"""Ends what waits for a worker that will not answer: a stopped process keeps its connections open without a word.

Whoever asks a worker for something holds a lifeline; the health watch cuts those of a worker that it gives up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .failure import unreachable
from .workers import Worker

__all__ = ["Lifelines"]


class _Hold:
    """One task that depends on a worker."""

    __slots__ = ("reason", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.reason = ""


class Lifelines:
    """All tasks that depend on workers, by worker."""

    def __init__(self) -> None:
        self._holds: dict[str, set[_Hold]] = {}

    @contextmanager
    def holding(self, worker: Worker) -> Iterator[None]:
        """Lets the block be ended when `worker` is given up.

        Raises:
            WorkerError: it was.
        """
        task = asyncio.current_task()
        assert task is not None
        hold = _Hold(task)
        holds = self._holds.setdefault(worker.url, set())
        holds.add(hold)
        try:
            yield
        except asyncio.CancelledError:
            # As asyncio.timeout does: a cancellation from elsewhere, at the same time, wins.
            if not hold.reason or task.uncancel() > 0:
                raise
            raise unreachable(worker, hold.reason, began=False) from None
        finally:
            holds.discard(hold)
            if not holds and self._holds.get(worker.url) is holds:
                del self._holds[worker.url]

    def cut(self, worker: Worker, reason: str) -> int:
        """Ends everything that waits for `worker`; returns how much that was."""
        holds = [hold for hold in self._holds.get(worker.url, ()) if not hold.reason]
        for hold in holds:
            hold.reason = reason
            hold.task.cancel()
        return len(holds)
