"""What a runner does with each process that it finds in the record: the same table for a fresh run and an adopted one.

Pure: a record and whether its process lives in, what to do out. `runner.supervisor` asks once, when it starts. What a
runner before left half done is finished, and nothing that lives is started a second time.
"""

from __future__ import annotations

from enum import StrEnum

from .lifecycle import ProcessState
from .state import ProcessRecord

__all__ = ["Then", "take_over"]


class Then(StrEnum):
    """What becomes of a process.

    leave: it stays as it is; watch: it lives and is watched from now on; lost: it ended while nobody looked;
    end: its end was asked for and is brought about; retry: it is started again after a pause; due: it is started as
    soon as those before it are ready.
    """

    LEAVE = "leave"
    WATCH = "watch"
    LOST = "lost"
    END = "end"
    RETRY = "retry"
    DUE = "due"


_DEAD = {
    ProcessState.PENDING: Then.DUE,
    ProcessState.STARTING: Then.LOST,
    ProcessState.READY: Then.LOST,
    ProcessState.STOPPING: Then.END,
    ProcessState.STOPPED: Then.LEAVE,
    ProcessState.CRASHED: Then.LEAVE,
    ProcessState.RESTARTING: Then.RETRY,
}
# What lives although it has crashed was not ready in time, or is about to be ended by a signal: it has to go.
_ALIVE = _DEAD | {ProcessState.STARTING: Then.WATCH, ProcessState.READY: Then.WATCH}


def take_over(process: ProcessRecord, *, alive: bool) -> Then:
    """Returns what becomes of `process`, whose first process still runs if it is `alive`."""
    if process.again and process.state in {ProcessState.STOPPED, ProcessState.STOPPING}:
        return Then.END if process.state is ProcessState.STOPPING else Then.DUE
    return (_ALIVE if alive else _DEAD)[process.state]
