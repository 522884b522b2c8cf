"""Who runs where: hosts, GPUs, NICs and ports of every process of a deployment. Pure.

First every process gets its node and GPUs, then the ports that the deployment asks for are held, then the others are
chosen: so that no process takes by chance what another one asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..dialects.dialect import Dialect
from ..dialects.placement import Placed, PlacedRouter, Placement, RunIds
from ..dialects.routers import METRICS_PORT
from ..host_facts import HostFacts
from ..launch import Role
from .gpu_count import gpus_of_process
from .hosts import HostTable, is_loopback
from .kept import Kept
from .machines import Machines
from .nic_choice import NicChooser, gpu_by_number
from .node_facts import NodeFacts, Nodes
from .rpc_band import engines_of, place_band, wish_band
from .seats import ROLES, Seat, Seating, seat_workers
from .servers import Server, place_servers, wanted_servers
from .worker_ports import WorkerPorts, place_worker_ports, wish_worker_ports

__all__ = ["gpus_of_process", "place"]


def place(
    deployment: Deployment,
    dialect: Dialect,
    host: HostFacts,
    ids: RunIds | None,
    nodes: Nodes,
    kept: Kept | None = None,
) -> Placement:
    """Returns every process of the deployment with its node, GPUs, NICs and ports; `kept` ones have theirs.

    Raises:
        ConfigError: hosts, GPUs or NICs do not suffice, or a wished port is taken.
        CapacityError: no port of a band is free.
    """
    hosts = HostTable(deployment)
    machines = Machines(hosts, host, nodes)
    return _Placing(deployment, dialect, host, hosts, machines, kept or Kept()).placement(ids)


class _Placing:
    def __init__(
        self,
        deployment: Deployment,
        dialect: Dialect,
        host: HostFacts,
        hosts: HostTable,
        machines: Machines,
        kept: Kept,
    ) -> None:
        self._kept = kept
        self._deployment = deployment
        self._dialect = dialect
        self._host = host
        self._hosts = hosts
        self._machines = machines
        self._selection = deployment.gpu_selection or dialect.gpu_selection
        self._named = any(deployment.settings(role.value).hosts for role in ROLES)
        self._router_kind = deployment.router.kind or next(iter(dialect.routers), "none")

    def placement(self, ids: RunIds | None) -> Placement:
        deployment, machines, hosts = self._deployment, self._machines, self._hosts
        seating = seat_workers(deployment, self._dialect, hosts, machines, self._kept)
        first = next(seats[0].node for workers in seating.values() for seats in workers)
        used = {seat.node: None for workers in seating.values() for seats in workers for seat in seats}
        router_node = self._router_node(first)
        self._check_reach(used, router_node)
        several = len({id(machines.of(node)) for node in used}) > 1
        servers = wanted_servers(deployment, hosts, first, several)

        counted = engines_of(deployment, seating, machines)
        self._wish_router(router_node)
        self._wish_servers(servers)
        given = wish_worker_ports(deployment, self._dialect, seating, machines, self._kept)
        band = wish_band(deployment, counted)

        placed_servers = place_servers(deployment, servers, hosts, machines, self._kept)
        router = self._router(router_node)
        ports = place_worker_ports(deployment, self._dialect, seating, machines, given)
        bands: Mapping[str, tuple[int, int]] = {}
        if band is not None:
            bands = {node: band for machine, _ in counted.values() for node in machine.nodes}
        elif deployment.rpc_ports == "auto":
            bands = place_band(counted, self._kept.band)

        workers = tuple(worker for role in seating for worker in self._workers(role, seating, ports[role]))
        ranks = sum(gpus_of_process(worker.settings) for worker in workers)
        places = {*used, *(server.node for server in servers), *([router.node] if router else [])}
        return Placement(
            deployment=deployment,
            local_name=self._host.node,
            python=self._host.python,
            threads=self._host.cores // max(1, ranks) or (1 if self._host.cores else 0),
            cores=self._host.cores,
            ids=ids,
            workers=workers,
            router=router,
            servers=placed_servers,
            addresses={node: hosts.address(node) for node in sorted(places) if node},
            rpc_ports=bands,
            several_nodes=len(places) > 1,
        )

    def _router_node(self, first: str) -> str | None:
        """Returns the router's node, None when there is no router."""
        if self._router_kind == "none":
            return None
        node = self._deployment.router.node
        return first if node is None else self._hosts.one("router.node", node)

    def _check_reach(self, used: Mapping[str, None], router_node: str | None) -> None:
        """Raises ConfigError when a process would be reached by a loopback address from another machine."""
        nodes = [*used, *([] if router_node is None or router_node in used else [router_node])]
        loopback = [node for node in nodes if is_loopback(self._hosts.address(node))]
        others = [node for node in nodes if not is_loopback(self._hosts.address(node))]
        if not loopback or not others:
            return
        node, address = loopback[0], self._hosts.address(loopback[0])
        problem = f"is an address that {others[0]} cannot reach"
        if node:
            raise ConfigError(f"hosts.{node}.address", address, problem, f"write the address of {node} in the network")
        remedy = "write this host's address in the network, or name the hosts of every role"
        raise ConfigError("host", address, problem, remedy)

    def _wish_router(self, node: str | None) -> None:
        spec = self._deployment.router
        if node is None:
            return
        ports = self._machines.of(node).ports
        for kind in ("http", "metrics"):
            port = self._kept.port("router", kind)
            if port is not None and port not in {spec.port, spec.metrics_port}:
                ports.hold(port, (0,), "the router")
        if spec.port is not None:
            ports.wish(spec.port, "router.port (--port)", "the router")
        if spec.metrics_port is not None:
            ports.wish(spec.metrics_port, "router.metrics_port", "the router's metrics")

    def _wish_servers(self, servers: tuple[Server, ...]) -> None:
        for server in servers:
            ports = self._machines.of(server.node).ports
            what = f"the {server.name} server" if server.kind != "master" else "the master"
            ports.wish(server.endpoint.port, server.field, what)

    def _router(self, node: str | None) -> PlacedRouter | None:
        if node is None:
            return None
        spec, ports, kept = self._deployment.router, self._machines.of(node).ports, self._kept
        port = spec.port if spec.port is not None else kept.port("router", "http")
        if port is None:
            port = ports.take(self._dialect.ports.router, "the router")
        metrics, usual = spec.metrics_port, METRICS_PORT.get(self._router_kind)
        if metrics is None and usual is not None:
            free = kept.port("router", "metrics") or ports.take(usual, "the router's metrics")
            metrics = None if free == usual else free
        return PlacedRouter(
            kind=self._router_kind,
            listen=spec.host or ("0.0.0.0" if self._named else self._deployment.host),
            port=port,
            node=node,
            address=self._hosts.address(node),
            metrics_port=metrics,
            run=self._hosts.run(spec.run, node),
        )

    def _workers(self, role: Role, seating: Seating, ports: tuple[WorkerPorts, ...]) -> list[Placed]:
        spec = self._deployment.settings(role.value)
        chooser = NicChooser(self._deployment, role, spec, self._selection)
        count = gpus_of_process(spec)
        placed: list[Placed] = []
        for index, (seats, own) in enumerate(zip(seating[role], ports, strict=True)):
            dist_init = ""
            if own.dist is not None:
                dist_init = f"{_bracketed(self._hosts.address(seats[0].node))}:{own.dist}"
            for rank, seat in enumerate(seats):
                facts = self._machines.facts(seat.node)
                placed.append(
                    Placed(
                        name=f"{role.value}-{index}-rank{rank}" if rank else f"{role.value}-{index}",
                        role=role,
                        port=own.http,
                        settings=spec,
                        bootstrap_port=own.bootstrap,
                        index=index,
                        rank=rank,
                        node=seat.node,
                        address=self._hosts.address(seat.node),
                        dist_init=dist_init,
                        kv_port=own.kv,
                        gpus=seat.gpus,
                        first_gpu=seat.gpus[0] if seat.gpus else 0,
                        visible=self._visible(seat, facts),
                        nics=chooser.text(seat.node, seat.gpus, count, facts),
                        run=self._hosts.run(spec.run, seat.node),
                    )
                )
        return placed

    def _visible(self, seat: Seat, facts: NodeFacts) -> tuple[str, ...]:
        if self._selection == "visible-devices" or (self._selection == "none" and seat.gpus):
            return tuple(str(gpu) for gpu in seat.gpus)
        if self._selection != "uuid":
            return ()
        where = seat.node or "this host"
        by_number = gpu_by_number(facts.host) if facts.host is not None else {}
        uuids: list[str] = []
        for gpu in seat.gpus:
            uuid = by_number[gpu].uuid.value if gpu in by_number else None
            if uuid is None:
                problem = f"needs the UUID of GPU {gpu} of {where}, which is not known"
                remedy = f"name a dump in hosts.{seat.node}.dump" if seat.node else "take visible-devices"
                raise ConfigError("gpu_selection", "uuid", problem, remedy)
            uuids.append(uuid)
        return tuple(uuids)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
