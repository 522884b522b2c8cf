"""Who runs where: hosts, GPUs, NICs and ports of every process of a deployment. Pure.

Prefill is placed first, then decode, unified workers and encoders, so that the well-known ports and the first GPUs of
a node are prefill's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import NicChoice, RoleSpec, RunSpec
from ..dialects.dialect import Dialect
from ..dialects.placement import Placed, PlacedRouter, Placement, RunIds
from ..host_facts import HostFacts
from ..launch import Role
from ..recipes.slurm_nodes import expand_nodes
from .node_facts import Nodes
from .node_ports import NodePorts

__all__ = ["gpus_of_process", "place"]

_ROLES = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)
_EPHEMERAL = (32768, 60999)
_DIST_PORTS = 8
# Workers of one role on a host that has no name: each is a process of its own with a copy of the weights.
_MOST_HERE = 64


class _Site:
    """One node while it is filled: its ports and the GPUs that are given out."""

    def __init__(self, ports: NodePorts) -> None:
        self.ports = ports
        self.next_gpu = 0
        self.workers = 0


def place(deployment: Deployment, dialect: Dialect, host: HostFacts, ids: RunIds | None, nodes: Nodes) -> Placement:
    """Returns every process of the deployment with its node, GPUs, NICs and ports.

    Raises:
        ConfigError: hosts or GPUs do not suffice, or a wished port is taken.
        CapacityError: no port of a band is free.
    """
    placing = _Placing(deployment, dialect, host)
    named = any(deployment.settings(role).hosts for role in _ROLES)
    router = placing.router_first(named)
    workers = [placed for role in _ROLES for placed in placing.role(role)]
    if router is None and dialect.routers and deployment.router.kind != "none":
        router = placing.router(workers, named)
    places = {worker.node for worker in workers} | ({router.node} if router else set())
    return Placement(
        deployment=deployment,
        local_name=host.node,
        python=host.python,
        threads=host.cores // max(1, len(workers)) or (1 if host.cores else 0),
        ids=ids,
        workers=tuple(workers),
        router=router,
        addresses={node: placing.address(node) for node in sorted(places) if node},
        several_nodes=len(places) > 1,
    )


class _Placing:
    def __init__(self, deployment: Deployment, dialect: Dialect, host: HostFacts) -> None:
        self._deployment = deployment
        self._dialect = dialect
        self._host = host
        self._sites: dict[str, _Site] = {}

    def site(self, node: str) -> _Site:
        if node not in self._sites:
            taken = self._host.taken if not node else frozenset()
            ephemeral = self._host.ephemeral if not node else _EPHEMERAL
            self._sites[node] = _Site(NodePorts(taken, ephemeral, node))
        return self._sites[node]

    def address(self, node: str) -> str:
        if not node:
            return self._deployment.host
        spec = self._deployment.hosts.get(node)
        return (spec.address if spec else None) or node

    def router_first(self, named: bool) -> PlacedRouter | None:
        """The router's port goes first on this host, so that a wished one is never a worker's."""
        return None if named or self._deployment.router.kind == "none" else self.router((), named)

    def router(self, workers: Sequence[Placed], named: bool) -> PlacedRouter:
        spec = self._deployment.router
        first = next((worker.node for worker in workers), "")
        node = spec.node or first
        site, default = self.site(node), self._dialect.ports.router
        field = "router.port (--port)"
        port = (
            site.ports.take(default, "the router") if spec.port is None else site.ports.wish(spec.port, field, default)
        )
        return PlacedRouter(
            kind=spec.kind or self._dialect.routers[0],
            listen=spec.host or ("0.0.0.0" if named else self._deployment.host),
            port=port,
            node=node,
            address=self.address(node),
            metrics_port=spec.metrics_port,
            run=self._run(spec.run, node),
        )

    def role(self, role: Role) -> list[Placed]:
        spec = self._deployment.settings(role.value)
        if not spec.count:
            return []
        if not spec.hosts and spec.count > _MOST_HERE:
            problem = f"is more than {_MOST_HERE} workers on one host"
            raise ConfigError(f"{role.value}.count", spec.count, problem, f"name hosts in {role.value}.hosts")
        hosts = expand_nodes(f"{role.value}.hosts", spec.hosts) if spec.hosts else ("",)
        if spec.nodes > len(hosts):
            raise ConfigError(
                f"{role.value}.nodes",
                spec.nodes,
                f"is more than the {len(spec.hosts or ())} hosts of the role",
                f"name {spec.nodes} hosts in {role.value}.hosts",
            )
        placed: list[Placed] = []
        for index in range(spec.count):
            start = index * spec.nodes
            placed += self._worker(
                role, spec, index, [hosts[(start + rank) % len(hosts)] for rank in range(spec.nodes)]
            )
        return placed

    def _worker(self, role: Role, spec: RoleSpec, index: int, hosts: Sequence[str]) -> list[Placed]:
        head, name, ports = hosts[0], f"{role.value}-{index}", self._dialect.ports
        port = self._port(head, spec.port, ports.http.get(role, 30000), f"{role.value}.port", "a worker")
        bootstrap = kv_port = None
        if role is Role.PREFILL and ports.bootstrap is not None:
            field = f"{role.value}.bootstrap_port"
            bootstrap = self._port(head, spec.bootstrap_port, ports.bootstrap, field, "a bootstrap")
        elif spec.bootstrap_port is not None:
            bootstrap = spec.bootstrap_port
        if role in ports.kv:
            kv_port = self._port(head, spec.kv_port, ports.kv[role], f"{role.value}.kv_port", "a connector")
        dist_init = ""
        if len(hosts) > 1:
            dist = self.site(head).ports.take(spec.dist_port or ports.dist, "a group's start", _DIST_PORTS)
            dist_init = f"{_bracketed(self.address(head))}:{dist}"
        placed: list[Placed] = []
        for rank, node in enumerate(hosts):
            gpus, first = self._gpus(spec, node)
            site = self.site(node)
            site.workers += 1
            placed.append(
                Placed(
                    name=f"{name}-rank{rank}" if rank else name,
                    role=role,
                    port=port,
                    settings=spec,
                    bootstrap_port=bootstrap,
                    index=index,
                    rank=rank,
                    node=node,
                    address=self.address(node),
                    dist_init=dist_init,
                    kv_port=kv_port,
                    gpus=gpus,
                    first_gpu=first,
                    visible=self._visible(gpus, first),
                    nics=_nic_text(spec.nics or self._deployment.nics),
                    run=self._run(spec.run, node),
                )
            )
        return placed

    def _port(self, node: str, wished: int | None, default: int, field: str, purpose: str) -> int:
        return self.site(node).ports.take(wished or default, purpose)

    def _gpus(self, spec: RoleSpec, node: str) -> tuple[tuple[int, ...], int]:
        selection = self._deployment.gpu_selection or self._dialect.gpu_selection
        if selection == "none":
            return (), 0
        site, wanted = self.site(node), gpus_of_process(spec)
        first = spec.base_gpu_id if spec.base_gpu_id is not None and not site.workers else site.next_gpu
        if spec.base_gpu_id is not None:
            first = max(first, spec.base_gpu_id)
        site.next_gpu = first + wanted
        return tuple(range(first, first + wanted)), first

    def _visible(self, gpus: tuple[int, ...], first: int) -> tuple[str, ...]:
        selection = self._deployment.gpu_selection or self._dialect.gpu_selection
        return tuple(str(gpu) for gpu in gpus) if selection in {"visible-devices", "uuid"} else ()

    def _run(self, own: RunSpec | None, node: str) -> RunSpec:
        spec = self._deployment.hosts.get(node) if node else None
        return (spec.run if spec else None) or own or self._deployment.run


def gpus_of_process(spec: RoleSpec) -> int:
    """Returns how many GPUs one process of a worker takes on its node: dp * tp * pp over its nodes.

    With DP attention the data parallel ranks share tp's GPUs (SGLang: world size is tp * pp).
    """
    dp = 1 if spec.dp_attention or spec.attn_dp else spec.dp or 1
    return max(1, (spec.tp or 1) * (spec.pp or 1) * dp // spec.nodes)


def _nic_text(choice: NicChoice) -> str:
    if isinstance(choice, list):
        return ",".join(choice)
    if isinstance(choice, Mapping):
        return json.dumps({gpu: ",".join(nics) for gpu, nics in choice.items()})
    return ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
