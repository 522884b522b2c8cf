"""The ports of workers: those that a deployment asks for, then the next free ones. Pure.

A port is the same on all nodes of a worker. A role's wished port is that of its first worker on a node; further ones
take the next free ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..dialects.dialect import Dialect
from ..launch import Role
from .derived_ports import dist_offsets, http_offsets, kv_offsets
from .kept import Kept
from .machines import Machines
from .node_ports import NodePorts, take_on_all, wish_on_all
from .seats import Seat, Seating

__all__ = ["WorkerPorts", "place_worker_ports", "wish_worker_ports"]

_HTTP_PORT = 30000


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """The ports of one worker; None where it has no such server."""

    http: int
    bootstrap: int | None = None
    kv: int | None = None
    dist: int | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of port of a role.

    Attributes:
        wished: what the deployment asks for; None leaves it to the plan.
        offsets: see `derived_ports`.
        head_only: True for a server that runs on the worker's first node alone.
    """

    name: str
    purpose: str
    first: int
    wished: int | None
    offsets: Sequence[int]
    head_only: bool = False


Wishes = Mapping[tuple[Role, int, str], int]
"""The wished ports that were given, by role, worker and kind."""


def wish_worker_ports(
    deployment: Deployment, dialect: Dialect, seating: Seating, machines: Machines, kept: Kept | None = None
) -> Wishes:
    """Returns the ports that the deployment asks for and those that running workers keep, and holds them.

    Raises:
        ConfigError: one of them is taken.
    """
    given = _keep(deployment, dialect, seating, machines, kept or Kept())
    for role, workers in seating.items():
        spec = deployment.settings(role.value)
        for kind in _kinds(dialect, role, spec):
            if kind.wished is None:
                continue
            seen: set[int] = set()
            for index, seats in enumerate(workers):
                ports = _ports(machines, seats, kind)
                first = not any(id(each) in seen for each in ports)
                seen.update(id(each) for each in ports)
                if first and (role, index, kind.name) not in given:
                    field, purpose = f"{role.value}.{_FIELDS[kind.name]}", f"{role.value}-{index}'s {kind.purpose}"
                    given[role, index, kind.name] = wish_on_all(ports, kind.wished, field, purpose, kind.offsets)
    return given


def _keep(
    deployment: Deployment, dialect: Dialect, seating: Seating, machines: Machines, kept: Kept
) -> dict[tuple[Role, int, str], int]:
    """Returns the ports that running workers keep, and holds them with all that goes with them."""
    given: dict[tuple[Role, int, str], int] = {}
    for role, workers in seating.items() if kept.ports else ():
        for kind in _kinds(dialect, role, deployment.settings(role.value)):
            for index, seats in enumerate(workers):
                port = kept.port(f"{role.value}-{index}", kind.name)
                if port is None:
                    continue
                given[role, index, kind.name] = port
                for each in _ports(machines, seats, kind):
                    each.hold(port, kind.offsets, f"{role.value}-{index}'s {kind.purpose}")
    return given


def place_worker_ports(
    deployment: Deployment, dialect: Dialect, seating: Seating, machines: Machines, given: Wishes
) -> Mapping[Role, tuple[WorkerPorts, ...]]:
    """Returns the ports of all workers, by role.

    Raises:
        CapacityError: no port of a band is free.
    """
    placed: dict[Role, tuple[WorkerPorts, ...]] = {}
    for role, workers in seating.items():
        spec = deployment.settings(role.value)
        kinds = tuple(_kinds(dialect, role, spec))
        placed[role] = tuple(
            _of_worker(role, index, spec, kinds, lambda kind, seats=seats: _ports(machines, seats, kind), given)
            for index, seats in enumerate(workers)
        )
    return placed


_FIELDS = {"http": "port", "bootstrap": "bootstrap_port", "kv": "kv_port", "dist": "dist_port"}


def _kinds(dialect: Dialect, role: Role, spec: RoleSpec) -> Iterator[_Kind]:
    ports = dialect.ports
    first = ports.http.get(role, _HTTP_PORT)
    yield _Kind("http", "HTTP server", spec.port or first, spec.port, http_offsets(dialect, spec))
    if role is Role.PREFILL and ports.bootstrap is not None:
        yield _Kind("bootstrap", "bootstrap server", spec.bootstrap_port or ports.bootstrap, spec.bootstrap_port, (0,))
    if role in ports.kv:
        yield _Kind("kv", "connector", spec.kv_port or ports.kv[role], spec.kv_port, kv_offsets(dialect, spec))
    # A SGLang worker of one node may name the port that it starts its ranks at, too.
    if spec.nodes > 1 or (spec.dist_port is not None and dialect.engine == "sglang"):
        yield _Kind(
            "dist", "group", spec.dist_port or ports.dist, spec.dist_port, dist_offsets(dialect), head_only=True
        )


def _ports(machines: Machines, seats: Sequence[Seat], kind: _Kind) -> tuple[NodePorts, ...]:
    nodes = seats[:1] if kind.head_only else seats
    return tuple({id(machine): machine.ports for machine in (machines.of(seat.node) for seat in nodes)}.values())


def _of_worker(
    role: Role,
    index: int,
    spec: RoleSpec,
    kinds: Sequence[_Kind],
    ports_of: Callable[[_Kind], tuple[NodePorts, ...]],
    given: Wishes,
) -> WorkerPorts:
    found: dict[str, int] = {}
    for kind in kinds:
        wished = given.get((role, index, kind.name))
        purpose = f"{role.value}-{index}'s {kind.purpose}"
        found[kind.name] = wished or take_on_all(ports_of(kind), kind.first, purpose, kind.offsets)
    # Decode has no bootstrap server; the number that it is given is prefill's.
    return WorkerPorts(found["http"], found.get("bootstrap", spec.bootstrap_port), found.get("kv"), found.get("dist"))
