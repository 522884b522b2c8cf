"""Ends what waits for a worker that will not answer: a stopped process keeps its connections open without a word.

Whoever asks a worker for something holds on to its lifeline; the health watch cuts it for a worker that it gives up.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from .workers import Worker

__all__ = ["Dependent", "Lifelines"]


class Dependent(Protocol):
    """What depends on a worker."""

    @property
    def worker(self) -> Worker:
        """The worker."""
        ...

    def cut(self, reason: str) -> None:
        """Ends it; `reason` says why the worker was given up."""
        ...


class Lifelines:
    """Everything that depends on workers, by worker."""

    def __init__(self) -> None:
        self._holds: defaultdict[str, set[Dependent]] = defaultdict(set)

    def hold(self, dependent: Dependent) -> None:
        """Lets `dependent` be ended when its worker is given up."""
        self._holds[dependent.worker.url].add(dependent)

    def release(self, dependent: Dependent) -> None:
        """Forgets `dependent`, which is over."""
        holds = self._holds.get(dependent.worker.url)
        if holds is not None:
            holds.discard(dependent)
            if not holds:
                del self._holds[dependent.worker.url]

    def cut(self, worker: Worker, reason: str) -> int:
        """Ends everything that waits for `worker`; returns how much that was."""
        holds = list(self._holds.get(worker.url, ()))
        for dependent in holds:
            dependent.cut(reason)
        return len(holds)
