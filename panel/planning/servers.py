"""The servers beside the workers that a deployment starts: which node each runs on, and what it listens on. Pure.

Their ports stand in the deployment's addresses, so they are wishes; only ports that no address names are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..dialects.placement import PlacedServer
from ..launch import Role
from ..metadata.address import Endpoint, Scheme, parse_endpoint, parse_metadata_server
from .hosts import HostTable
from .kept import Kept
from .machines import Machines
from .node_ports import take_on_all

__all__ = ["CHOSEN_PORTS", "Server", "place_servers", "wanted_servers"]

_PEER_PORT, _METRICS_PORT, _HTTP_PORT = 2380, 9003, 8080
CHOSEN_PORTS = (_PEER_PORT, _METRICS_PORT, _HTTP_PORT)
"""Where the ports start that no address names."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is to be started: where workers reach it and what that port is called."""

    name: str
    role: Role
    kind: str
    field: str
    endpoint: Endpoint
    purpose: str
    node: str


def wanted_servers(deployment: Deployment, hosts: HostTable, first: str, several: bool) -> tuple[Server, ...]:
    """Returns the servers that the deployment starts, the metadata server first.

    Args:
        first: the node of the first prefill worker, where a server runs that is reached by a loopback address.
        several: True when workers run on more than one machine.

    Raises:
        ConfigError: the address is none, is not one of a server that can be started, or leads nowhere.
    """
    servers: list[Server] = []
    metadata, store = deployment.metadata, deployment.store
    if metadata is not None and metadata.start:
        backend = Scheme(metadata.backend) if metadata.backend else Scheme.ETCD
        parsed = parse_metadata_server(metadata.server, field="metadata.server", backend=backend)
        if parsed.scheme in {Scheme.P2P, Scheme.HTTPS}:
            problem = "names no server that could be started"
            remedy = "set metadata.start: false, or write an address such as etcd://HOST:2379"
            raise ConfigError("metadata.start", metadata.server, problem, remedy)
        if len(parsed.endpoints) > 1 and metadata.node is not None:
            problem, remedy = "names one node for several servers", "leave it out: each runs on the host of its address"
            raise ConfigError("metadata.node", metadata.node, problem, remedy)
        if len({endpoint.port for endpoint in parsed.endpoints}) > 1:
            problem, remedy = "gives the members of a cluster different ports", "write one port for all of them"
            raise ConfigError("metadata.server", metadata.server, problem, remedy)
        purpose = "http" if parsed.scheme is Scheme.HTTP else "client"
        node = hosts.one("metadata.node", metadata.node) if metadata.node is not None else None
        for number, endpoint in enumerate(parsed.endpoints):
            name = "metadata" if len(parsed.endpoints) == 1 else f"metadata-{number}"
            where = _node(hosts, "metadata.server", endpoint, node, first, several)
            kind = parsed.scheme.value
            servers.append(Server(name, Role.METADATA, kind, "metadata.server", endpoint, purpose, where))
    if store is not None and store.start:
        endpoint = parse_endpoint(store.master, field="store.master")
        where = _node(hosts, "store.master", endpoint, None, first, several)
        servers.append(Server("store", Role.STORE, "master", "store.master", endpoint, "rpc", where))
    return tuple(servers)


def place_servers(
    deployment: Deployment,
    servers: tuple[Server, ...],
    hosts: HostTable,
    machines: Machines,
    kept: Kept | None = None,
) -> tuple[PlacedServer, ...]:
    """Returns the servers with all of their ports; those in their addresses are held already.

    Args:
        deployment: whose they are.
        servers: the ones that are wanted.
        hosts: what the deployment says of hosts.
        machines: where ports are given out.
        kept: what running servers have already.
    """
    kept = kept or Kept()
    members = {server.node: machines.of(server.node).ports for server in servers if server.kind == "etcd"}
    known = next((port for server in servers if (port := kept.port(server.name, "peer")) is not None), None)
    peers = known or (take_on_all(tuple(members.values()), _PEER_PORT, "etcd's members") if members else 0)
    placed: list[PlacedServer] = []
    for server in servers:
        ports = {server.purpose: server.endpoint.port, **({"peer": peers} if server.kind == "etcd" else {})}
        if server.kind == "master":
            running = {kind: port for kind in ("metrics", "http") if (port := kept.port(server.name, kind)) is not None}
            ports |= running if len(running) == 2 else _master_ports(deployment, server, hosts, machines)
        placed.append(
            PlacedServer(
                name=server.name,
                role=server.role,
                kind=server.kind,
                listen=_listen(server.endpoint),
                ports=ports,
                node=server.node,
                address=server.endpoint.host if server.endpoint.loopback else hosts.address(server.node),
                run=hosts.run(None, server.node),
            )
        )
    return tuple(placed)


def _master_ports(deployment: Deployment, server: Server, hosts: HostTable, machines: Machines) -> Mapping[str, int]:
    """Returns the master's further ports; its HTTP metadata server is where `store.metadata` has it, on that host."""
    ports = machines.of(server.node).ports
    chosen = {"metrics": ports.take(_METRICS_PORT, "the master's metrics")}
    text = deployment.store.metadata if deployment.store else None
    if text is not None and text.startswith("http://"):
        endpoint = parse_metadata_server(text, field="store.metadata").endpoints[0]
        local = endpoint.loopback or machines.of(hosts.named(endpoint.host)) is machines.of(server.node)
        if local and ports.free(endpoint.port):
            ports.hold(endpoint.port, (0,), "the master's metadata server")
            return {**chosen, "http": endpoint.port}
    return {**chosen, "http": ports.take(_HTTP_PORT, "the master's metadata server")}


def _listen(endpoint: Endpoint) -> str:
    if endpoint.loopback:
        return "127.0.0.1" if endpoint.host.lower() == "localhost" else endpoint.host
    return "::" if ":" in endpoint.host else "0.0.0.0"


def _node(hosts: HostTable, field: str, endpoint: Endpoint, wished: str | None, first: str, several: bool) -> str:
    if not endpoint.loopback:
        if wished is not None:
            return wished
        return first if endpoint.host == hosts.address(first) else hosts.named(endpoint.host)
    node = first if wished is None else wished
    if several or node != first:
        problem = "is reached by its own host alone, and workers run on others"
        raise ConfigError(field, str(endpoint), problem, f"write {Endpoint(hosts.address(node), endpoint.port)}")
    return node
