"""What a dialect is: a pure function from a Placement to commands and files, and what it says of itself.

Values. `registry` has the table of all; `panel.planning` places a deployment by what its dialect says, calls `build`,
and makes the LaunchPlan of the Draft.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...nic_probe.finding import Finding
from ..launch import PlannedFile, Preparation, ProcessSpec, Request, Role
from .placement import Placement

__all__ = ["Dialect", "Draft", "PortDefaults"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a dialect makes of a Placement.

    Attributes:
        processes: in the order in which they start.
        env: variables that every process gets; a process's own go first.
        requests: what shows that it works.
        findings: what was translated, left out or cannot be right, by the dialect's own knowledge.
    """

    processes: tuple[ProcessSpec, ...]
    files: tuple[PlannedFile, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Preparation | None = None
    requests: tuple[Request, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class PortDefaults:
    """Where a dialect's processes listen when nobody says otherwise; the first of a role on a node takes the number.

    Attributes:
        http: by role; further workers on the same node take the next free ports.
        bootstrap: of prefill workers; None where the engine has no such server.
        kv: of a connector with a port of its own, by role.
        dist: of a worker over several nodes.
        router: of the router.
    """

    http: Mapping[Role, int]
    bootstrap: int | None = 8998
    kv: Mapping[Role, int] = field(default_factory=dict)
    dist: int = 5000
    router: int = 8000


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to say a deployment.

    Attributes:
        name: as a Deployment writes it.
        title: for people.
        engine: the engine whose commands these are.
        about: one sentence: for whom it is, and what it needs.
        fields: the fields of a Deployment, dotted (`workers.tp` stands for prefill.tp and its like as well), that it
            makes something of, beside those that all dialects know. A field that is set and not here is an error.
        transports: those that it can say; the first is its default.
        routers: kinds of routers; the first is its default.
        ports: where its processes listen.
        gpu_selection: its default way to give a worker its GPUs.
        build: the pure function.
        shares_gpus: without a way that the deployment chooses, a worker takes a GPU of a host that is known to have
            some, several of them one GPU if need be, and computes on the CPU elsewhere.
        version: the engine's version that is meant when the deployment names none; empty is today's.
    """

    name: str
    title: str
    engine: str
    about: str
    fields: frozenset[str]
    transports: tuple[str, ...]
    routers: tuple[str, ...]
    ports: PortDefaults
    gpu_selection: str
    build: Callable[[Placement], Draft]
    version: str = ""
    shares_gpus: bool = False
