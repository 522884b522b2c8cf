"""The commands that start a metadata server for a deployment, and what makes it ready.

Pure: values for a planner, which gives each process its place. Loopback unless hosts are named, since anybody who
reaches these servers can change where the KV cache goes. etcd keeps its entries in its data folder; the HTTP
server forgets them when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...engine.errors import ConfigError
from .address import Endpoint, MetadataServer, Scheme, parse_endpoint

__all__ = ["ReadyCheck", "ServerCommand", "etcd_cluster_commands", "etcd_command", "http_server_command"]

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = "0.0.0.0"
_READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReadyCheck:
    """A GET on `url`, to be repeated for `timeout_s` until the answer has this status and holds this text."""

    url: str
    status: int
    text: str
    timeout_s: float = _READY_SECONDS


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """One process that keeps metadata.

    Attributes:
        host: the node that it runs on, as the deployment names it.
        ports: what it listens on, by purpose: "client" and, of etcd, "peer"; "http" of the other.
        ready: asked from the node itself.
        server: what workers are given as their metadata server.
    """

    argv: tuple[str, ...]
    host: str
    ports: dict[str, int]
    ready: ReadyCheck
    server: MetadataServer


def etcd_command(
    host: str = _LOOPBACK,
    *,
    client_port: int = 2379,
    peer_port: int = 2380,
    data_dir: str = "",
    advertise: str = "",
) -> ServerCommand:
    """Returns an etcd of one member.

    Args:
        host: where workers reach it. A loopback address binds it there; any other binds all addresses, since a
            name, or an address that is translated on the way, is none that etcd could bind.
        data_dir: a fresh one forgets the segments of earlier runs; without one etcd makes default.etcd where it runs.
        advertise: the host that etcd tells its clients, which Mooncake does not ask for; without one `host`.

    Raises:
        ConfigError: a host or port is none.
    """
    client = _endpoint("metadata host", host, client_port)
    _endpoint("etcd peer port", _LOOPBACK, peer_port)
    if client_port == peer_port:
        raise ConfigError("etcd peer port", peer_port, "is the client port too", "choose another")
    bound = Endpoint(_bindable(client.host), client_port) if client.loopback else Endpoint(_EVERYWHERE, client_port)
    told = _endpoint("advertised host", advertise, client_port) if advertise else client
    argv = ["etcd", "--listen-client-urls", f"http://{bound}", "--advertise-client-urls", f"http://{told}"]
    if peer_port != 2380:
        peers = f"http://{Endpoint(_LOOPBACK, peer_port)}"
        argv += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        argv += ["--initial-cluster", f"default={peers}"]
    if data_dir:
        argv += [f"--data-dir={data_dir}"]  # In one argument, so that a name may begin with a dash.
    return ServerCommand(
        tuple(argv),
        host,
        {"client": client_port, "peer": peer_port},
        _etcd_ready(bound),
        MetadataServer(Scheme.ETCD, (client,)),
    )


def etcd_cluster_commands(
    hosts: Sequence[str],
    *,
    client_port: int = 2379,
    peer_port: int = 2380,
    data_dir: str = "",
    token: str = "etcd-cluster-1",
) -> tuple[ServerCommand, ...]:
    """Returns an etcd of one member per host; each address is bound as given, so hosts are IP addresses.

    Raises:
        ConfigError: fewer than three hosts, an even number of them, or one that is no IP address.
    """
    if len(hosts) < 3 or len(hosts) % 2 == 0 or len(set(hosts)) < len(hosts):
        problem = "an etcd cluster outlives the loss of a member with three, five or seven different ones alone"
        raise ConfigError("metadata hosts", ", ".join(hosts), problem, "name three hosts, or one for a single etcd")
    clients = [_endpoint("metadata hosts", host, client_port) for host in hosts]
    for client in clients:
        if not (":" in client.host or client.host.replace(".", "").isdecimal()):
            raise ConfigError("metadata hosts", client.host, "is a name, and etcd binds addresses", "write its address")
    peers = [f"http://{Endpoint(client.host, peer_port)}" for client in clients]
    members = ",".join(f"node{number}={peer}" for number, peer in enumerate(peers))
    server = MetadataServer(Scheme.ETCD, tuple(clients))
    commands = []
    for number, client in enumerate(clients):
        argv = ["etcd", "--name", f"node{number}"]
        argv += ["--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"]
        argv += ["--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number]]
        argv += ["--initial-cluster", members, "--initial-cluster-token", token, "--initial-cluster-state", "new"]
        if data_dir:
            argv += [f"--data-dir={data_dir}"]
        ports = {"client": client_port, "peer": peer_port}
        commands.append(ServerCommand(tuple(argv), hosts[number], ports, _etcd_ready(client), server))
    return tuple(commands)


def http_server_command(
    host: str = _LOOPBACK, *, port: int = 8080, python: str = "python3", program: str = ""
) -> ServerCommand:
    """Returns Mooncake's HTTP metadata server.

    Args:
        host: where workers reach it; a loopback address binds it there, any other binds all addresses.
        program: the path of mooncake_http_metadata_server, to be used in place of `python -m`.

    Raises:
        ConfigError: the host or the port is none.
    """
    reached = _endpoint("metadata host", host, port)
    # Named always: without it the server listens everywhere.
    bound = Endpoint(_bindable(reached.host), port) if reached.loopback else Endpoint(_EVERYWHERE, port)
    start = (program,) if program else (python, "-m", "mooncake.http_metadata_server")
    argv = (*start, "--host", bound.host, "--port", str(port))
    local = bound if reached.loopback else Endpoint(_LOOPBACK, port)
    # It has no page that says that it is well: to a request without a key it says what is missing.
    ready = ReadyCheck(f"http://{local}/metadata", 400, "key")
    return ServerCommand(argv, host, {"http": port}, ready, MetadataServer(Scheme.HTTP, (reached,), "/metadata"))


def _etcd_ready(bound: Endpoint) -> ReadyCheck:
    local = Endpoint(_LOOPBACK, bound.port) if bound.host == _EVERYWHERE else bound
    return ReadyCheck(f"http://{local}/health", 200, '"true"')


def _bindable(host: str) -> str:
    # etcd refuses to bind a name.
    return _LOOPBACK if host.lower() == "localhost" else host


def _endpoint(field: str, host: str, port: int) -> Endpoint:
    if not 0 < port < 1 << 16:
        raise ConfigError(field, port, "is no port", "write a number from 1 to 65535")
    return parse_endpoint(str(Endpoint(host, port)), field=field)
