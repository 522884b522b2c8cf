"""The LaunchPlan: who runs where, with what. The one value that preview, export and start read.

Frozen, made by `panel.plan` from a Deployment and read by everything after it. Knows nothing of how a plan is
made or of running processes. Travels as JSON (`plan.json` in a run's directory).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from ..engine.errors import ConfigError
from ..nic_probe.finding import Finding

__all__ = [
    "LaunchPlan",
    "PlannedFile",
    "Preparation",
    "ProcessSpec",
    "Readiness",
    "Request",
    "Restart",
    "Role",
    "decode_plan",
    "encode_plan",
]


class Role(StrEnum):
    """What a process does in a run; one that submits a job to Slurm ends when that is done."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    ENCODER = "encoder"
    ROUTER = "router"
    PROXY = "proxy"
    METADATA = "metadata"
    STORE = "store"
    SUBMIT = "slurm-submit"


class Restart(StrEnum):
    """Whether a process that ends without having been asked to is started again.

    One whose work is over then, such as a job's submission, is not.
    """

    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What makes a process ready: status 200 of a GET on `url` within `timeout_s` seconds of its start.

    An empty `url` is a process that answers nobody, such as a further rank of a group: it is ready once it runs.
    """

    url: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that the run needs.

    Attributes:
        path: relative to the folder that the node's processes are started in.
        node: the node that needs it; empty is this host.
        shared: True for a file that is the same on every node and needed on each.
        program: True for something that a command runs, False for what one reads.
    """

    path: str
    text: str
    node: str = ""
    shared: bool = False
    program: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A command that shows that the deployment answers, run on `node` once all is ready."""

    argv: tuple[str, ...]
    node: str = ""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done once for a model before its workers start, such as fetching and converting it.

    Attributes:
        marker: a file name that stands for this model; once prepared, the step is left out as long as that
            file and `cache_dir` exist.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    marker: str
    cache_dir: str


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of a run.

    Attributes:
        name: unique in the run, such as prefill-0.
        node: the machine that it runs on, as the deployment names it; this host's own name where it names none.
        argv: the command, one element per argument.
        env: variables to set over the inherited environment.
        gpus: ids of its GPUs, none on a CPU.
        nics: names of its RDMA devices, none without.
        ports: what it listens on, by purpose, such as "http" and, for prefill, "bootstrap".
        after: names of the processes that must be ready before this one is started.
        log: its log's file name within the run's `logs` folder.
        grace_s: seconds between SIGTERM and SIGKILL.
        metrics_url: Prometheus text; empty when it has none.
        info_url: the worker's description as JSON; empty when it has none.
        rank: its node's rank within a worker that spans several.
        targets: for a proxy whose program holds them: whom it asks and where it listens, by name.
    """

    name: str
    role: Role
    node: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    ports: Mapping[str, int]
    ready: Readiness
    log: str
    gpus: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    grace_s: float = 5.0
    metrics_url: str = ""
    info_url: str = ""
    rank: int = 0
    targets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything that a run is started from; processes are in the order in which they start.

    Attributes:
        model: the model as the Deployment names it, for display.
        transport: the transport asked for, for display.
        host: the address that all of its ports belong to, when it names no hosts.
        dialect: whose commands these are.
        engine_version: the version that they are for; empty is today's.
        addresses: of each node that the deployment names, where the others reach it.
        env: what all processes have in common of their variables; each has it in its own `env` too.
        requests: what shows that it works.
        findings: what the plan noticed.
        restart: what becomes of processes that end by themselves.
        attached: somebody else started the processes: they are watched, never started or ended.
        simulated: GPUs and NICs are those of a host that is made up: nothing of this one is claimed.
        leaving: names of processes that are about to end for good, after which they are no longer part of the plan.
    """

    run_name: str
    model: str
    transport: str
    host: str
    router_url: str
    processes: tuple[ProcessSpec, ...]
    files: tuple[PlannedFile, ...] = ()
    prepare: Preparation | None = None
    dialect: str = "bundled"
    engine_version: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    requests: tuple[Request, ...] = ()
    findings: tuple[Finding, ...] = ()
    restart: Restart = Restart.ON_FAILURE
    attached: bool = False
    simulated: bool = False
    leaving: tuple[str, ...] = ()

    def process(self, name: str) -> ProcessSpec | None:
        """Returns the process called `name`, None if there is none."""
        return next((spec for spec in self.processes if spec.name == name), None)


def encode_plan(plan: LaunchPlan) -> bytes:
    """Returns `plan` as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2)


def decode_plan(data: bytes) -> LaunchPlan:
    """Returns the plan in `data`.

    Raises:
        ConfigError: `data` is not a plan, or its names and paths do not fit together.
    """
    try:
        plan = msgspec.json.decode(data, type=LaunchPlan)
    except msgspec.MsgspecError as error:
        raise ConfigError("plan.json", f"{len(data)} bytes", f"is not a plan: {error}", "start the run anew") from None
    _check(plan)
    return plan


def _check(plan: LaunchPlan) -> None:
    started: set[str] = set()
    for spec in plan.processes:
        if spec.name in started:
            raise ConfigError("processes.name", spec.name, "is there twice", "give each process its own name")
        if not spec.argv and not plan.attached:
            raise ConfigError(f"{spec.name}.argv", (), "is empty", "name a command")
        if not set(spec.after) <= started:
            raise ConfigError(f"{spec.name}.after", spec.after, "names a later process", "put that process first")
        started.add(spec.name)
    for path in (*(spec.log for spec in plan.processes), *(file.path for file in plan.files)):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise ConfigError("path", path, "leaves the run's directory", "use a path inside it")
