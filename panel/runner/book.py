"""The run's record while its runner lives: every change of it, and its copy on disk.

The only writer of `state.json`. States come from `runner.lifecycle`; who changes what and when is the supervisor's
business. A disk that takes no more is said in the record and stops nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import replace

from ..launch import LaunchPlan
from ..rundir import RunDir
from .journal import Journal, clean_line
from .lifecycle import FINAL, WITHOUT_PROCESS, ProcessEvent, ProcessState, RunState, run_state, transition
from .procfs import read_stat
from .state import ProcessRecord, RunRecord, encode_record, reconciled

__all__ = ["Book"]

_CLOCK_WAS_SET_S = 2.0


class Book:
    """Keeps the record of one run; all calls come from one event loop.

    Args:
        rundir: where the record is kept.
        record: the run as it was found.
        journal: is told of every change of a state.
    """

    def __init__(self, rundir: RunDir, record: RunRecord, journal: Journal) -> None:
        self._rundir = rundir
        taken_over = record.adopted_at if record.runner_pid is None else max(time.time(), record.created_at)
        self._run = replace(record, runner_pid=os.getpid(), left=False, adopted_at=taken_over, processes=())
        self._processes = {process.name: process for process in record.processes}
        self._journal = journal
        self._trouble = ""
        self._due: asyncio.Handle | None = None
        self._since = time.monotonic()
        self._age_s = max(0.0, time.time() - record.created_at)

    @property
    def run(self) -> RunRecord:
        """The run without its processes."""
        return self._run

    @property
    def processes(self) -> tuple[ProcessRecord, ...]:
        """The processes, in the plan's order."""
        return tuple(self._processes.values())

    @property
    def waits(self) -> bool:
        """True when the disk did not take the record the last time."""
        return bool(self._trouble)

    @property
    def age_s(self) -> float:
        """Seconds since the run was started; a clock that is set meanwhile does not change it."""
        return round(self._age_s + time.monotonic() - self._since, 3)

    def knows(self, name: str) -> bool:
        """Returns True when `name` is a process of the run."""
        return name in self._processes

    def process(self, name: str) -> ProcessRecord:
        """Returns the process called `name`, which must be one of the run."""
        return self._processes[name]

    def told(self, use: Mapping[str, float]) -> RunRecord:
        """Returns the whole record with what its processes `use`, by series."""
        return replace(
            self._run,
            notice=self._run.notice or self._trouble,
            processes=tuple(_told(process, use) for process in self._processes.values()),
        )

    def apply(self, name: str, event: ProcessEvent, **changes: object) -> None:
        """Lets `event` happen to a process, together with further changes of its record."""
        before = self._processes[name].state
        after = transition(before, event)
        if after is not before:
            reason = clean_line(str(changes.get("reason", "")))
            self._journal.say("state", process=name, before=before, after=after, reason=reason)
        self.change(name, state=after, **changes)

    def change(self, name: str, **changes: object) -> None:
        """Changes fields of a process's record."""
        process = replace(self._processes[name], **changes)  # type: ignore[arg-type]
        if process != self._processes[name]:
            self._processes[name] = process
            self._save_soon()

    def set(self, **changes: object) -> None:
        """Changes fields of the run's record."""
        run = replace(self._run, **changes)  # type: ignore[arg-type]
        if run != self._run:
            self._run = run
            self._save_soon()

    def replan(self, plan: LaunchPlan) -> None:
        """Takes a changed plan of the run: its new processes wait for their start, the others are as they were."""
        record = reconciled(replace(self._run, processes=self.processes), plan)
        self._processes = {process.name: process for process in record.processes}
        self._run = replace(self._run, removed=record.removed)
        self.save()

    def save(self) -> None:
        """Writes the record now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._update()
        try:
            self._rundir.write(self._rundir.state, encode_record(replace(self._run, processes=self.processes)))
        except OSError as error:
            trouble = f"the state of the run cannot be written: {error.strerror or error}"
            if trouble != self._trouble:
                self._journal.say("problem", text=trouble)
            self._trouble = trouble
        else:
            self._trouble = ""

    def _save_soon(self) -> None:
        # The state is right at once; the file is written once for all that changes in one turn of the loop.
        self._update()
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self.save)

    def _update(self) -> None:
        run = self._run
        every = list(self._processes.values())
        # What comes or goes while the run works does not make it a worse one.
        settled = [process for process in every if not _is_in_passing(process)]
        ending = run.stop_asked or run.restart_asked or not run.was_ready
        state = run_state(
            (process.state for process in (every if ending else settled or every)),
            stop_asked=run.stop_asked,
            was_ready=run.was_ready,
            failed=run.failed,
            restart_asked=run.restart_asked,
        )
        if state is not run.state:
            self._journal.say("run", before=run.state, after=state, since_start_s=self.age_s)
        ended_at = run.ended_at or max(time.time(), run.created_at) if state in FINAL else None
        was_ready = run.was_ready or state is RunState.READY
        if (state, ended_at, was_ready) != (run.state, run.ended_at, run.was_ready):
            self._run = replace(run, state=state, ended_at=ended_at, was_ready=was_ready)


def _is_in_passing(process: ProcessRecord) -> bool:
    return process.leaving or (process.unlisted and process.state in {ProcessState.PENDING, ProcessState.STARTING})


def _told(process: ProcessRecord, use: Mapping[str, float]) -> ProcessRecord:
    cpu, rss = use.get(f"proc/{process.name}/cpu_percent"), use.get(f"proc/{process.name}/rss_bytes")
    return replace(
        process,
        cpu_percent=cpu,
        rss_bytes=None if rss is None else int(rss),
        started_at=_started_at(process),
    )


def _started_at(process: ProcessRecord) -> float | None:
    """Returns when a process was started by today's clock: whoever subtracts gets how long it runs."""
    if process.started_at is None or process.pid is None or process.state in WITHOUT_PROCESS:
        return process.started_at
    stat = read_stat(process.pid)
    if stat is None or stat.start_ticks != process.start_ticks:
        return process.started_at
    now_s = round(time.time() - stat.age_s, 2)
    return now_s if abs(now_s - process.started_at) > _CLOCK_WAS_SET_S else process.started_at
