"""The LaunchPlan: who runs where, with what. The one value that preview, export and start read.

Frozen, made by `panel.plan` from a Deployment and read by everything after it. Knows nothing of how a plan is
made or of running processes. Travels as JSON (`plan.json` in a run's directory).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from ..engine.errors import ConfigError

__all__ = [
    "LaunchPlan",
    "PlannedFile",
    "Preparation",
    "ProcessSpec",
    "Readiness",
    "Role",
    "decode_plan",
    "encode_plan",
]


class Role(StrEnum):
    """What a process does in a run."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What makes a process ready: status 200 of a GET on `url` within `timeout_s` seconds of its start."""

    url: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that the run needs; `path` is relative to the run's directory."""

    path: str
    text: str


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
        node: the machine that it runs on.
        argv: the command, one element per argument.
        env: variables to set over the inherited environment.
        gpus: ids of its GPUs, none on a CPU.
        nics: names of its RDMA devices, none without.
        ports: what it listens on, by purpose: "http" and, for prefill, "bootstrap".
        after: names of the processes that must be ready before this one is started.
        log: its log's file name within the run's `logs` folder.
        grace_s: seconds between SIGTERM and SIGKILL.
        metrics_url: Prometheus text; empty when it has none.
        info_url: the worker's description as JSON; empty when it has none.
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


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything that a run is started from; processes are in the order in which they start.

    Attributes:
        model: the model as the Deployment names it, for display.
        transport: the transport asked for, for display.
        host: the address that all of its ports belong to.
    """

    run_name: str
    model: str
    transport: str
    host: str
    router_url: str
    processes: tuple[ProcessSpec, ...]
    files: tuple[PlannedFile, ...] = ()
    prepare: Preparation | None = None

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
        if not spec.argv:
            raise ConfigError(f"{spec.name}.argv", (), "is empty", "name a command")
        if not set(spec.after) <= started:
            raise ConfigError(f"{spec.name}.after", spec.after, "names a later process", "put that process first")
        started.add(spec.name)
    for path in (*(spec.log for spec in plan.processes), *(file.path for file in plan.files)):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise ConfigError("path", path, "leaves the run's directory", "use a path inside it")
