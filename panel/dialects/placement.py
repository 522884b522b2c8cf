"""A Deployment with every decision made: who runs where, on which GPUs and ports. What dialects turn into commands.

Made by `panel.planning`; knows nothing of any engine's flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..deployment import Deployment
from ..deployment_parts import RoleSpec, RunSpec
from ..flags.version import version_of
from ..launch import Role

__all__ = ["Placed", "PlacedRouter", "PlacedServer", "Placement", "RunIds", "flag", "flags", "url", "version_of"]


@dataclass(frozen=True, slots=True)
class RunIds:
    """What tells one run from another: its id and its directories, absolute."""

    run_id: str
    run_dir: str
    cache_dir: str


@dataclass(frozen=True, slots=True)
class Placed:
    """One process of a worker: its only one, or that of one node when it spans several.

    Attributes:
        name: prefill-0, or prefill-0-rank1 for a further node of it.
        index: which worker of its role, from 0.
        rank: which node of the worker, from 0; rank 0 speaks HTTP.
        node: the host as the deployment names it; empty is this host.
        address: where others reach it.
        port: of its HTTP server; the same on all nodes of the worker.
        bootstrap_port: a prefill worker's; None elsewhere.
        dist_init: HOST:PORT of the worker's first node; empty for a worker of one node that names no dist_port.
        kv_port: see RoleSpec.kv_port; None where the dialect has none.
        gpus: the node's GPUs that it uses, by index; empty when the deployment leaves that open.
        first_gpu: the first of them, and 0 when that is open: SGLang's --base-gpu-id.
        visible: what CUDA_VISIBLE_DEVICES (or its like) says; empty leaves the variable alone.
        nics: SGLang's --disaggregation-ib-device: names with commas, or a map as JSON; empty leaves it to the engine.
        settings: the role's settings, filled up with those of all workers.
        run: how it is run.
    """

    name: str
    role: Role
    port: int
    settings: RoleSpec
    bootstrap_port: int | None = None
    index: int = 0
    rank: int = 0
    node: str = ""
    address: str = "127.0.0.1"
    dist_init: str = ""
    kv_port: int | None = None
    gpus: tuple[int, ...] = ()
    first_gpu: int = 0
    visible: tuple[str, ...] = ()
    nics: str = ""
    run: RunSpec = field(default_factory=RunSpec)


@dataclass(frozen=True, slots=True)
class PlacedRouter:
    """The router: `listen` is the address that it binds, `address` where its node is reached."""

    kind: str
    listen: str
    port: int
    node: str = ""
    address: str = "127.0.0.1"
    metrics_port: int | None = None
    run: RunSpec = field(default_factory=RunSpec)


@dataclass(frozen=True, slots=True)
class PlacedServer:
    """A server beside the workers that the plan starts: etcd, Mooncake's metadata server or master, redis.

    Attributes:
        kind: etcd, http, redis or master.
        listen: the address that it binds: loopback when all is on one host.
        ports: by purpose, such as client and peer.
    """

    name: str
    role: Role
    kind: str
    listen: str
    ports: Mapping[str, int]
    node: str = ""
    address: str = "127.0.0.1"
    run: RunSpec = field(default_factory=RunSpec)


@dataclass(frozen=True, slots=True)
class Placement:
    """The Deployment and what was decided for it.

    Attributes:
        local_name: what this host calls itself, for processes without a node of the deployment.
        python: the interpreter that has pdpanel installed, for the bundled engine; elsewhere a word such as python3.
        threads: compute threads of each rank of the bundled engine; 0 leaves it to the engine.
        cores: of this host; 0 when unknown.
        ids: of the run that is started; None for a plan that is shown or exported.
        workers: every process of every worker, prefill first, then decode, unified and encoders.
        router: None when the deployment has none.
        servers: in the order in which they start, before the workers.
        addresses: of each host that the deployment names.
        rpc_ports: Mooncake's band of RPC ports by the node's name; absent is Mooncake's own.
        several_nodes: True when processes run on more than one host.
    """

    deployment: Deployment
    local_name: str
    python: str
    workers: tuple[Placed, ...]
    router: PlacedRouter | None
    threads: int = 0
    cores: int = 0
    ids: RunIds | None = None
    servers: tuple[PlacedServer, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    rpc_ports: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    several_nodes: bool = False

    def of_role(self, role: Role) -> tuple[Placed, ...]:
        """Returns the processes of `role`, further ranks included."""
        return tuple(worker for worker in self.workers if worker.role is role)

    def first_ranks(self, role: Role) -> tuple[Placed, ...]:
        """Returns the processes of `role` that speak HTTP."""
        return tuple(worker for worker in self.workers if worker.role is role and worker.rank == 0)

    def answering(self) -> tuple[str, ...]:
        """Returns the names of the workers that answer HTTP, which a router waits for."""
        return tuple(worker.name for worker in self.workers if worker.rank == 0)

    def server(self, kind: str) -> PlacedServer | None:
        """Returns the first server of this kind."""
        return next((server for server in self.servers if server.kind == kind), None)


def url(host: str, port: int, path: str = "") -> str:
    """Returns the HTTP URL of `path`; an IPv6 address gets its brackets."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{path}"


def flag(name: str, value: object) -> tuple[str, ...]:
    """Returns `--name value` as arguments; a value that starts with a dash is joined, so it stays a value."""
    text = str(value)
    return (f"--{name}={text}",) if text.startswith("-") else (f"--{name}", text)


def flags(extra: Mapping[str, str | int | float | bool | list[str | int | float | bool]]) -> tuple[str, ...]:
    """Returns the arguments of a person's extra flags: True gives the bare flag, False nothing, a list all its values.

    A value in a list that starts with a dash would be taken for a flag; argparse has no way to say it otherwise.
    """
    arguments: list[str] = []
    for name, value in extra.items():
        if value is True:
            arguments.append(f"--{name}")
        elif isinstance(value, list):
            arguments += [f"--{name}", *map(str, value)]
        elif value is not False:
            arguments.extend(flag(name, value))
    return tuple(arguments)
