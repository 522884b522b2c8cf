"""Benchmark results in the logs of attached runs, such as MAD's `*_CONCURRENCY.log`: found, counted, taken over.

Reads the logs of jobs beside the deployment, which are no process of it; `panel.results` knows what is in them. A log
is read again only when it has changed. Called by the web part's `attach_source`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ConfigError, NotFoundError
from ..launch import LaunchPlan, Role
from ..load.imported import imported_entries
from ..load.store import Entry

__all__ = ["FoundLog", "FoundResults"]

_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log of an attached run that holds results.

    Attributes:
        log: its name in the run.
        source: the file, as results that were taken over name it.
        results: how many it holds.
    """

    run: str
    log: str
    source: str
    results: int


class FoundResults:
    """Finds the results.

    Args:
        plan_of: gives a run's plan.
        log_of: gives the file of a run's log, by the run and the log's name.
    """

    def __init__(self, plan_of: Callable[[str], LaunchPlan], log_of: Callable[[str, str], Path]) -> None:
        self._plan_of = plan_of
        self._log_of = log_of
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[tuple[int, int], int]] = {}

    def list(self, run_id: str) -> Sequence[FoundLog]:
        """Returns the logs of a run that hold results; empty for a run that is not attached."""
        plan = self._plan_of(run_id)
        names = [spec.name for spec in plan.processes if plan.attached and spec.role is Role.SUBMIT]
        found = []
        for name in names:
            path = self._log_of(run_id, name)
            count = self._count(path)
            if count:
                found.append(FoundLog(run_id, name, path.resolve().name, count))
        return found

    def entries(self, run_id: str, log: str) -> Sequence[Entry]:
        """Returns the results in one of these logs.

        Raises:
            NotFoundError: the run has no such log with results.
        """
        if all(one.log != log for one in self.list(run_id)):
            raise NotFoundError("log", log, "holds no results", "choose one of the list")
        path = self._log_of(run_id, log)
        return imported_entries(_data(path), path.resolve().name, time.time())

    def _count(self, path: Path) -> int:
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            with self._lock:
                seen = self._seen.get(path)
            if seen is not None and seen[0] == stamp:
                return seen[1]
            count = _results(path) if found.st_size <= _MOST_BYTES else 0
        except OSError:
            # A log that is gone: there is nothing to offer.
            return 0
        with self._lock:
            self._seen[path] = (stamp, count)
        return count


def _results(path: Path) -> int:
    try:
        return len(imported_entries(_data(path), path.name, 0.0))
    except ConfigError:
        return 0


def _data(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
