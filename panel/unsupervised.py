"""A run whose runner is gone: what is still alive of it, and how to end that.

Works from the last record alone. A process counts as alive only if boot id, pid and start ticks are still the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .runner.lifecycle import ENDED, FINAL, ProcessState, RunState
from .runner.prepare import MODEL_STEP
from .runner.procfs import boot_id, is_alive
from .runner.reaper import end_processes
from .runner.state import ProcessRecord, RunRecord

__all__ = ["end_unsupervised", "without_runner"]

_LOST = "its runner ended without stopping the run"


def without_runner(record: RunRecord) -> RunRecord:
    """Returns `record` as it is without a runner: unsupervised, or stopped if nothing of it is alive."""
    same_boot = record.boot_id == boot_id()
    processes = tuple(
        process if same_boot and _alive(process) else _gone(process) if process.state not in ENDED else process
        for process in record.processes
    )
    alive = any(process.state not in ENDED for process in processes)
    state = RunState.UNSUPERVISED if alive else RunState.STOPPED
    return replace(record, state=state, notice=_LOST, processes=processes, runner_pid=None)


def end_unsupervised(record: RunRecord, progress: Callable[[str], None]) -> RunRecord:
    """Ends what is left of a run and returns its record; one that has ended properly comes back as it is."""
    if record.state in FINAL:
        return record
    processes = record.processes
    notice = _LOST
    if record.boot_id == boot_id():
        step = ProcessRecord(MODEL_STEP, processes[0].role, {}, f"{MODEL_STEP}.log", 1.0)
        started = [process for process in processes if process.pid is not None]
        ending = end_processes(record.id, record.host, [*started, step], progress)
        notice = ending.notice or notice
        processes = tuple(process if process.name in ending.stuck else _gone(process) for process in processes)
    else:
        processes = tuple(_gone(process) for process in processes)
    over = all(process.state in ENDED for process in processes)
    state = RunState.STOPPED if over else RunState.UNSUPERVISED
    return replace(record, state=state, notice=notice, processes=processes, runner_pid=None)


def _alive(process: ProcessRecord) -> bool:
    if process.state in ENDED or process.pid is None or process.start_ticks is None:
        return False
    return is_alive(process.pid, process.start_ticks)


def _gone(process: ProcessRecord) -> ProcessRecord:
    state = process.state if process.state is ProcessState.CRASHED else ProcessState.STOPPED
    return replace(process, state=state, stage="", cpu_percent=None, rss_bytes=None)
