"""What a runner tells of its run: over the socket, and in `state.json` for the time after it.

Plain frozen values and their JSON; knows nothing of how they come about. `panel.runs` makes views of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from ...nic_probe.finding import Finding
from ..launch import LaunchPlan, Role
from .lifecycle import ProcessState, RunState

__all__ = [
    "MODEL_STEP",
    "ProcessRecord",
    "RunRecord",
    "decode_record",
    "encode_record",
    "initial_record",
    "read_record",
    "reconciled",
    "resumed_record",
]

MODEL_STEP = "model"
"""The name that the model's preparation has beside the processes."""


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
        gpus: ids of its GPUs, none on a CPU.
        log_offset: where its log stood when it was started the last time, bytes.
        was_ready: it was ready once, so that it is started again when it ends by itself.
        failures: how often in a row it ended by itself.
        again: it is being ended in order to be started again.
        unlisted: the router that runs was started without it and has to be told of it.
        outdated: it was started by a command that the plan has changed since.
        leaving: it is about to end for good.
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
    gpus: tuple[str, ...] = ()
    log_offset: int = 0
    was_ready: bool = False
    failures: int = 0
    again: bool = False
    unlisted: bool = False
    outdated: bool = False
    leaving: bool = False


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
        resumed_at: when it was started again after its end, unix seconds; None for a run that never ended.
        stop_asked: it was told to stop; a runner that takes it over goes on with that.
        restart_asked: likewise, all of it is being stopped in order to be started again.
        was_ready: all of its processes were ready at the same time once.
        failed: something beside the processes went wrong for good, such as fetching the model.
        left: its runner was told to leave it, so that nobody takes it over unasked.
        adopted_at: when a runner took over from one that had ended, unix seconds; None for the first one.
        step_pid: of the model's preparation while that runs, with `step_ticks` as for a process.
        findings: what is wrong with the run's directory, such as samples that cannot be written.
        simulated: its GPUs, NICs and their counters are made up.
        removed: the logs of workers that were taken out of it, by name.
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
    resumed_at: float | None = None
    stop_asked: bool = False
    restart_asked: bool = False
    was_ready: bool = False
    failed: bool = False
    left: bool = False
    adopted_at: float | None = None
    step_pid: int | None = None
    step_ticks: int | None = None
    findings: tuple[Finding, ...] = ()
    simulated: bool = False
    removed: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> ProcessRecord:
        """The model's preparation as if it were a process, for whoever has to end it."""
        return ProcessRecord(
            MODEL_STEP, Role.SUBMIT, {}, f"{MODEL_STEP}.log", 1.0, pid=self.step_pid, start_ticks=self.step_ticks
        )


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
        simulated=plan.simulated,
        processes=tuple(
            ProcessRecord(
                spec.name,
                spec.role,
                dict(spec.ports),
                spec.log,
                spec.grace_s,
                gpus=() if plan.simulated else spec.gpus,  # nobody waits for memory of a GPU that is made up
            )
            for spec in plan.processes
        ),
    )


def resumed_record(record: RunRecord, plan: LaunchPlan, now: float, boot_id: str) -> RunRecord:
    """Returns the record of a run that has ended and is about to start again, as the same run."""
    fresh = initial_record(record.id, plan, record.created_at, boot_id)
    return replace(fresh, resumed_at=now, removed=_removed(record, plan))


def reconciled(record: RunRecord, plan: LaunchPlan) -> RunRecord:
    """Returns `record` with the processes of `plan`: those that are new wait, those that are no longer there are gone.

    A change of the plan is written before the record of it, and a runner may end in between.
    """
    known = {process.name: process for process in record.processes}
    fresh = {process.name: process for process in initial_record(record.id, plan, 0, record.boot_id).processes}
    processes = (known.get(name, replace(new, unlisted=True)) for name, new in fresh.items())
    told = tuple(replace(each, leaving=each.name in plan.leaving) for each in processes)
    return replace(record, processes=told, removed=_removed(record, plan))


def _removed(record: RunRecord, plan: LaunchPlan) -> dict[str, str]:
    logs = {**record.removed, **{process.name: process.log for process in record.processes}}
    return {name: log for name, log in logs.items() if plan.process(name) is None}


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
