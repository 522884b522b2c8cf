"""What clients see of a run: frozen values made from the runner's record.

Knows no socket and no file; `panel.runs` makes them, web and CLI show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..nic_probe.finding import Finding
from .launch import Role
from .runner.lifecycle import WITHOUT_PROCESS, ProcessState, RunState
from .runner.state import RunRecord

__all__ = ["KnownViews", "ProcessView", "RunView", "to_view"]

_MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process of a run.

    Attributes:
        pid: None while it does not run.
        port: its HTTP port.
        stage: what it is doing while it starts, empty otherwise.
        started_at: unix seconds, None before its first start.
        cpu_percent: of its whole group, 100 is one core; None when not known.
        rss_bytes: of its whole group; None when not known.
        restarts: how often it was started anew.
        reason: why it ended by itself the last time, one line; a process that was started again keeps it.
        log: its log file, absolute.
        progress: how much of the stage is done, 0 to 1; None when nobody can know it.
        exit_code: of its last end, negative for a signal; None while it runs, and when nobody can know it.
        findings: what its log says about that end.
    """

    name: str
    role: Role
    pid: int | None
    port: int
    state: ProcessState
    stage: str
    started_at: float | None
    cpu_percent: float | None
    rss_bytes: int | None
    restarts: int
    reason: str
    log: str
    progress: float | None = None
    exit_code: int | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class RunView:
    """One run.

    Attributes:
        created_at: unix seconds.
        notice: what is going on or went wrong, one line, empty when there is nothing to say.
        supervised: its runner lives, so that it takes commands; a failed run may still have one.
        ended_at: unix seconds; None while it goes on.
        resumed_at: when it was started again after its end, unix seconds; None for a run that never ended.
        adopted_at: when a runner took over from one that had ended, unix seconds; None for the first one.
        left: its runner was told to leave it, so that nobody takes it over unasked.
        attached: somebody else started the processes: they are watched, never started or ended.
        findings: what is wrong with the run's directory now, such as samples that cannot be written.
        simulated: its GPUs, NICs and their counters are made up.
        removed: workers that were taken out of it and left a log.
    """

    id: str
    name: str
    state: RunState
    created_at: float
    router_url: str
    model: str
    transport: str
    notice: str
    processes: tuple[ProcessView, ...]
    supervised: bool
    ended_at: float | None = None
    resumed_at: float | None = None
    adopted_at: float | None = None
    left: bool = False
    attached: bool = False
    findings: tuple[Finding, ...] = ()
    simulated: bool = False
    removed: tuple[str, ...] = ()


def to_view(record: RunRecord, logs: Path) -> RunView:
    """Returns `record` as clients see it; `logs` is the run's folder of logs."""
    return RunView(
        id=record.id,
        name=record.name,
        state=record.state,
        created_at=record.created_at,
        router_url=record.router_url,
        model=record.model,
        transport=record.transport,
        notice=record.notice,
        processes=tuple(
            ProcessView(
                name=process.name,
                role=process.role,
                pid=None if process.state in WITHOUT_PROCESS else process.pid,
                port=process.ports.get("http", 0),
                state=process.state,
                stage=process.stage,
                started_at=process.started_at,
                cpu_percent=process.cpu_percent,
                rss_bytes=process.rss_bytes,
                restarts=process.restarts,
                reason=process.reason,
                log=str(logs / process.log),
                progress=process.progress,
                exit_code=process.exit_code,
                findings=process.findings,
            )
            for process in record.processes
        ),
        supervised=record.runner_pid is not None and record.state is not RunState.STOPPED,
        ended_at=record.ended_at,
        resumed_at=record.resumed_at,
        adopted_at=record.adopted_at,
        left=record.left,
        attached=record.attached,
        findings=record.findings,
        simulated=record.simulated,
        removed=tuple(record.removed),
    )


class KnownViews:
    """The views of the last records: an ended run, whose record stays the same object, keeps its view."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[RunRecord, RunView]] = {}

    def of(self, record: RunRecord, logs: Path) -> RunView:
        """Returns `to_view(record, logs)`, the same object for the same record."""
        known = self._known.get(record.id)
        if known is not None and known[0] is record:
            return known[1]
        view = to_view(record, logs)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[record.id] = (record, view)
        return view
