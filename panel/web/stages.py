"""When each process of a run came to each stage of its start, as far as it was seen.

A runner tells what a process does now; the start order on the Deploy view also needs since when. Kept in memory for
the processes that start or have just become ready: a panel that was opened later knows only what it saw. Called by
the sources of `port` on every look at the runs, from several threads.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .port import ProcessView, RunView, StageView

__all__ = ["StageLog", "stage_word"]

_COUNTED = re.compile(r"\s*\(?\b\d+(?:[.,]\d+)?\s*(?:%|of\b.*|/\s*\d+.*|[kMG]?B\b.*)\)?\s*$")
_STARTING = ("starting", "restarting")
# A process that waits for others, or comes back again and again, has few stages; a program may call them anything.
_MOST = 12


def stage_word(process: ProcessView) -> str:
    """Returns the stage of a process without its count or cause: "loading weights 40 %" is "loading weights"."""
    if process.state == "pending":
        return "waiting"
    if process.state == "ready":
        return "ready"
    if process.state not in _STARTING:
        return ""
    # What follows a colon says why it takes so long, and changes.
    return _COUNTED.sub("", process.stage.partition(": ")[0]).rstrip(" :,.;…") or "starting"


@dataclass(frozen=True, slots=True)
class _Start:
    pid: int | None
    stages: tuple[StageView, ...]


class StageLog:
    """What was seen of the starts of all runs.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._starts: dict[tuple[str, str], _Start] = {}
        self._lock = threading.Lock()

    def seen(self, runs: Sequence[RunView]) -> list[RunView]:
        """Returns the runs with the stages of each process that starts, or has started before our eyes."""
        now = self._clock()
        with self._lock:
            known = {(run.id, process.name) for run in runs for process in run.processes}
            self._starts = {key: start for key, start in self._starts.items() if key in known}
            return [self._with_stages(run, now) for run in runs]

    def _with_stages(self, run: RunView, now: float) -> RunView:
        processes = tuple(self._look(run, process, now) for process in run.processes)
        return run if processes == run.processes else replace(run, processes=processes)

    def _look(self, run: RunView, process: ProcessView, now: float) -> ProcessView:
        key = (run.id, process.name)
        word = stage_word(process)
        start = self._starts.get(key)
        if not word:
            # An end shows how far the process had come.
            return process if start is None else replace(process, stages=start.stages)
        if start is not None and start.pid is not None and process.pid not in (None, start.pid):
            start = None
        if start is None:
            if word == "ready":
                return process
            start = _Start(process.pid, _first(run, process, word, now))
        elif start.stages[-1].name != word:
            began = process.started_s if start.stages[-1].name == "waiting" and process.started_s else now
            stages = (*start.stages, StageView(word, max(began, start.stages[-1].began_s)))
            start = _Start(process.pid, stages[-_MOST:])
        elif start.pid is None:
            start = _Start(process.pid, start.stages)
        self._starts[key] = start
        return replace(process, stages=start.stages)


def _first(run: RunView, process: ProcessView, word: str, now: float) -> tuple[StageView, ...]:
    if word == "waiting":
        return (StageView(word, run.created_s),)
    if process.started_s is None:
        return (StageView(word, now),)
    begun = StageView("waiting", run.created_s)
    waited = process.restarts == 0 and process.started_s - run.created_s > 1.0
    rest = (StageView(word, process.started_s),)
    if word != "starting" and now - process.started_s > 1.0:
        # What came before this stage was not seen, so it is one part.
        rest = (StageView("starting", process.started_s), StageView(word, now))
    return (begun, *rest) if waited else rest
