"""What a runner tells of its run: over the socket, and in `state.json` for the time after it.

Plain frozen values and their JSON; knows nothing of how they come about. `panel.runs` makes views of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...nic_probe.finding import Finding
from ..launch import LaunchPlan, Role
from .lifecycle import ProcessState, RunState

__all__ = ["ProcessRecord", "RunRecord", "decode_record", "encode_record", "initial_record", "read_record"]


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process of a run.

    Attributes:
        pid: of its first process, which also leads its group and session; None before the first start.
        start_ticks: clock ticks from boot to its start; with pid and boot id it names a process for good.
        ports: what it listens on, by purpose.
        stage: what it is doing while it starts, for people.
        progress: how much of that stage is done, 0 to 1; None when nobody can know it.
        started_at: unix seconds.
        restarts: how often it was started anew.
        reason: why it ended by itself the last time, one line; a process that was started again keeps it.
        exit_code: of its last end, negative for a signal; None while it runs, and when nobody can know it.
        findings: what its log says about that end.
    """

    name: str
    role: Role
    ports: Mapping[str, int]
    log: str
    grace_s: float
    state: ProcessState = ProcessState.PENDING
    pid: int | None = None
    start_ticks: int | None = None
    stage: str = ""
    started_at: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    restarts: int = 0
    reason: str = ""
    progress: float | None = None
    exit_code: int | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        host: the address that its ports belong to.
        created_at: unix seconds.
        notice: what is going on or went wrong, one line, empty when there is nothing to say.
        boot_id: of the boot in which the processes were started.
        runner_pid: None until the runner has taken the run over.
        ended_at: unix seconds; None while it goes on.
        attached: somebody else started the processes: they are watched, never started or ended.
    """

    id: str
    name: str
    state: RunState
    created_at: float
    host: str
    router_url: str
    model: str
    transport: str
    boot_id: str
    processes: tuple[ProcessRecord, ...]
    notice: str = ""
    runner_pid: int | None = None
    ended_at: float | None = None
    attached: bool = False


def initial_record(run_id: str, plan: LaunchPlan, created_at: float, boot_id: str) -> RunRecord:
    """Returns the record of a run that is about to start."""
    return RunRecord(
        id=run_id,
        name=plan.run_name,
        state=RunState.STARTING,
        created_at=created_at,
        host=plan.host,
        router_url=plan.router_url,
        model=plan.model,
        transport=plan.transport,
        boot_id=boot_id,
        attached=plan.attached,
        processes=tuple(
            ProcessRecord(spec.name, spec.role, dict(spec.ports), spec.log, spec.grace_s) for spec in plan.processes
        ),
    )


def encode_record(record: RunRecord) -> bytes:
    """Returns `record` as JSON."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> RunRecord:
    """Returns the record in `data`.

    Raises:
        msgspec.MsgspecError: `data` is not one.
    """
    return msgspec.json.decode(data, type=RunRecord)


def read_record(path: Path) -> RunRecord | None:
    """Returns the record in the file at `path`, None if there is none that can be read."""
    try:
        return decode_record(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
