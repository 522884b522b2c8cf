"""The states of a process and of a run, and every way from one to the next.

Pure: events in, states out; no process, socket or clock. The table holds every (state, event) pair: a missing
arrow would be a bug, so an illegal pair is written down as None and raises. `runner.supervisor` feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType

from ...engine.errors import LocalProtocolError

__all__ = [
    "ENDED",
    "FINAL",
    "TRANSITIONS",
    "WITHOUT_PROCESS",
    "ProcessEvent",
    "ProcessState",
    "RunState",
    "run_state",
    "transition",
]


class ProcessState(StrEnum):
    """Where a process is; pending is before its first start, restarting between an end and the next start."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CRASHED = "crashed"
    RESTARTING = "restarting"


class RunState(StrEnum):
    """Where a run is; unsupervised means that its runner is gone while processes go on."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNSUPERVISED = "unsupervised"


class ProcessEvent(StrEnum):
    """What happens to a process.

    spawn: it was started; ready: its readiness answered 200; exit: its first process ended; stop: its end was
    asked for; gone: its whole group ended and its ports are free; fail: it could not be started or was not
    ready in time; retry: it will be started again after a pause; reset: it is to be started with the others.
    """

    SPAWN = "spawn"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"
    GONE = "gone"
    FAIL = "fail"
    RETRY = "retry"
    RESET = "reset"


_P, _S, _R, _G, _D, _C, _W = ProcessState

# fmt: off
# A column per event, in the order in which ProcessEvent lists them; None cannot happen.
_TABLE: dict[ProcessState, tuple[ProcessState | None, ...]] = {
    #    spawn, ready, exit,  stop,  gone,  fail,  retry, reset
    _P: (_S,    None,  None,  _D,    None,  _C,    None,  _P),
    _S: (None,  _R,    _C,    _G,    None,  _C,    None,  None),
    _R: (None,  _R,    _C,    _G,    None,  None,  None,  None),
    _G: (None,  _G,    _G,    _G,    _D,    _G,    _G,    None),
    _D: (_S,    _D,    _D,    _D,    _D,    _C,    _D,    _P),
    _C: (_S,    _C,    _C,    _C,    _C,    _C,    _W,    _P),
    _W: (_S,    _W,    _W,    _D,    _W,    _C,    _W,    _P),
}
# fmt: on
TRANSITIONS = MappingProxyType(
    {(state, event): after for state, row in _TABLE.items() for event, after in zip(ProcessEvent, row, strict=True)}
)

ENDED = frozenset({ProcessState.STOPPED, ProcessState.CRASHED})
WITHOUT_PROCESS = ENDED | {ProcessState.RESTARTING}
FINAL = frozenset({RunState.STOPPED, RunState.FAILED})


def transition(state: ProcessState, event: ProcessEvent) -> ProcessState:
    """Returns the state after `event`.

    Raises:
        LocalProtocolError: `event` cannot happen in `state`: a bug of the runner.
    """
    after = TRANSITIONS[state, event]
    if after is None:
        raise LocalProtocolError(f"A process that is {state} cannot see the event {event}.")
    return after


def run_state(
    processes: Iterable[ProcessState], *, stop_asked: bool, was_ready: bool, failed: bool, restart_asked: bool = False
) -> RunState:
    """Returns the state of a run whose processes are in `processes`.

    Args:
        processes: one state per process of the plan.
        stop_asked: the run was told to stop.
        was_ready: all of its processes were ready at the same time once.
        failed: something beside the processes went wrong for good, such as fetching the model.
        restart_asked: all of it is being stopped in order to be started again.
    """
    states = list(processes)
    over = all(state in ENDED or state is ProcessState.PENDING for state in states)
    crashed = ProcessState.CRASHED in states
    if stop_asked:
        if not over:
            return RunState.STOPPING
        return RunState.FAILED if failed or (crashed and not was_ready) else RunState.STOPPED
    if restart_asked:
        return RunState.STARTING if over else RunState.STOPPING
    if failed:
        return RunState.FAILED
    if all(state is ProcessState.READY for state in states):
        return RunState.READY
    if over and crashed:
        return RunState.FAILED
    if crashed or ProcessState.STOPPED in states:
        return RunState.DEGRADED
    return RunState.DEGRADED if was_ready else RunState.STARTING
