"""A run whose runner is gone: what is still alive of it, and how to end that.

Works from the last record alone. A process counts as alive only if boot id, pid and start ticks are still the
same. What a reboot has ended is shown as ended by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from .rundir import RunDir
from .runner.lifecycle import ENDED, FINAL, ProcessState, RunState
from .runner.procfs import boot_id, is_still
from .runner.reaper import end_processes
from .runner.state import ProcessRecord, RunRecord

__all__ = ["DETACHED", "REBOOTED", "end_unsupervised", "without_runner"]

REBOOTED = "ended by a restart of this host"
DETACHED = "detached; its processes were left as they are"
_UNWATCHED = "its runner ended, so that nobody watches it now"
_LOST = "its runner ended without stopping the run"
_LEFT = "its runner was told to leave it; Adopt gives it a new one"
_UNBORN = "its start was broken off before it had a runner"


def without_runner(record: RunRecord, rundir: RunDir) -> RunRecord:
    """Returns `record` as it is without a runner: unsupervised, or ended if nothing of it is alive."""
    if record.state in FINAL:
        return replace(record, runner_pid=None)
    if record.boot_id != boot_id():
        return _over(record, rundir, REBOOTED)
    if record.attached:
        notice = _LEFT if record.left else _UNWATCHED
        return replace(record, state=RunState.UNSUPERVISED, notice=notice, runner_pid=None)
    step = record.step_pid is not None and is_still(record.step_pid, record.step_ticks, record.id)
    processes = tuple(process if _stays(process, record.id) else _gone(process) for process in record.processes)
    if not step and all(process.state in ENDED for process in processes):
        return _over(record, rundir, _how_it_ended(record))
    # With a part of it alive the others stay as they were: whoever takes it over starts those that wait for that.
    shown = tuple(
        process if process.state not in _LIVING or _stays(process, record.id) else _gone(process)
        for process in record.processes
    )
    notice = _LEFT if record.left else _LOST
    return replace(record, state=RunState.UNSUPERVISED, notice=notice, processes=shown, runner_pid=None)


def end_unsupervised(record: RunRecord, rundir: RunDir, progress: Callable[[str], None]) -> RunRecord:
    """Ends what is left of a run and returns its record; one that has ended properly comes back as it is."""
    if record.state in FINAL:
        return record
    if record.boot_id != boot_id():
        return _over(record, rundir, REBOOTED)
    if record.attached:  # its processes are somebody else's
        return _over(record, rundir, DETACHED)
    started = [process for process in record.processes if process.pid is not None]
    ending = end_processes(record.id, record.host, [*started, record.step], progress)
    notice = ending.notice or _how_it_ended(record)
    processes = tuple(
        process if process.name in ending.stuck or process.state in ENDED else _gone(process)
        for process in record.processes
    )
    over = all(process.state in ENDED for process in processes)
    state = RunState.STOPPED if over else RunState.UNSUPERVISED
    ended_at = max(time.time(), record.created_at) if over else None
    return replace(record, state=state, notice=notice, processes=processes, runner_pid=None, ended_at=ended_at)


_LIVING = frozenset({ProcessState.STARTING, ProcessState.READY, ProcessState.STOPPING})


def _how_it_ended(record: RunRecord) -> str:
    if record.stop_asked:
        return record.notice
    return _UNBORN if record.runner_pid is None else _LOST


def _over(record: RunRecord, rundir: RunDir, notice: str) -> RunRecord:
    processes = tuple(process if process.state in ENDED else _gone(process) for process in record.processes)
    ended_at = max(rundir.last_sign() or record.created_at, record.created_at)
    return replace(
        record, state=RunState.STOPPED, notice=notice, processes=processes, runner_pid=None, ended_at=ended_at
    )


def _stays(process: ProcessRecord, run_id: str) -> bool:
    return process.state not in ENDED and is_still(process.pid, process.start_ticks, run_id)


def _gone(process: ProcessRecord) -> ProcessRecord:
    state = process.state if process.state is ProcessState.CRASHED else ProcessState.STOPPED
    return replace(process, state=state, stage="", progress=None, cpu_percent=None, rss_bytes=None)
