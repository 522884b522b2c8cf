"""The commands of servers beside workers: etcd, Mooncake's metadata server and master, redis.

Pure: one ProcessSpec for each PlacedServer. Dialects call it, and say by `MasterForm` how their documents write the
master's command. Knows nothing of workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...engine.errors import ConfigError
from ..deployment_parts import Flag
from ..launch import ProcessSpec, Readiness, Role
from ..metadata.address import Endpoint
from ..metadata.server_commands import ServerCommand, etcd_cluster_commands, etcd_command, http_server_command
from .placement import PlacedServer, Placement, flag, url

__all__ = ["MASTER_PORT", "MasterForm", "server_process", "server_processes"]

MASTER_PORT = 50051
_METADATA_PORT = 8080
_METRICS_PORT = 9003
_READY_TIMEOUT_S = 60.0
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class MasterForm:
    """How a dialect writes `mooncake_master`'s command.

    Attributes:
        port_flag: rpc_port, or port for the masters that know no other.
        joined: True for gflags' own form --flag=value, False for two arguments.
        port_always: True prints the port where it is the default, too.
        serves_metadata: True starts its HTTP metadata server.
        defaults: flags that the dialect's document gives; a person's own go first.
    """

    port_flag: str = "rpc_port"
    joined: bool = True
    port_always: bool = False
    serves_metadata: bool = False
    defaults: Mapping[str, Flag] = field(default_factory=dict)


def server_processes(placement: Placement, master: MasterForm | None = None) -> tuple[ProcessSpec, ...]:
    """Returns all of the placement's servers, in the order in which they start."""
    return tuple(server_process(placement, server, master) for server in placement.servers)


def server_process(placement: Placement, server: PlacedServer, master: MasterForm | None = None) -> ProcessSpec:
    """Returns the process of one server.

    Args:
        server: its `ports` are named client and peer (etcd), http (Mooncake's metadata server), client (redis), rpc,
            metrics and http (the master); one that is missing has the server's own default.
        master: how the master's command is written; None is the way of today's masters.

    Raises:
        ConfigError: the kind is unknown, or members of an etcd cluster are too few or have no addresses.
    """
    match server.kind:
        case "etcd":
            return _metadata(placement, server, _etcd(placement, server))
        case "http":
            return _metadata(placement, server, http_server_command(_reached(server), port=_port(server, "http")))
        case "redis":
            return _redis(placement, server)
        case "master":
            return _master(placement, server, master or MasterForm())
    raise ConfigError("metadata.server", server.kind, "is no server that can be started", "write etcd, http or redis")


_DEFAULTS = {"etcd": {"client": 2379, "peer": 2380}, "http": {"http": _METADATA_PORT}, "redis": {"client": 6379}}


def _port(server: PlacedServer, purpose: str) -> int:
    return server.ports.get(purpose) or _DEFAULTS[server.kind][purpose]


def _reached(server: PlacedServer) -> str:
    """Where workers reach it; for a server that listens on all addresses, or on a named one, that is the node's."""
    return server.address if server.listen in _EVERYWHERE else server.listen


def _etcd(placement: Placement, server: PlacedServer) -> ServerCommand:
    members = [each for each in placement.servers if each.kind == "etcd"]
    client, peer = _port(server, "client"), _port(server, "peer")
    if len(members) > 1:
        hosts = [member.address for member in members]
        return etcd_cluster_commands(hosts, client_port=client, peer_port=peer)[members.index(server)]
    reached = _reached(server)
    # Mooncake's document tells clients localhost; nobody here asks etcd where it is.
    advertise = "" if Endpoint(reached, client).loopback else "localhost"
    return etcd_command(reached, client_port=client, peer_port=peer, advertise=advertise)


def _metadata(placement: Placement, server: PlacedServer, command: ServerCommand) -> ProcessSpec:
    # The HTTP server has no page that answers 200 before a key is written.
    asked = command.ready.url if command.ready.status == 200 else ""
    return _process(placement, server, command.argv, command.ports, asked)


def _redis(placement: Placement, server: PlacedServer) -> ProcessSpec:
    port = _port(server, "client")
    listen = "127.0.0.1" if server.listen == "localhost" else server.listen
    # Protected and without a password, redis lets only its own host in.
    protected = "yes" if Endpoint(listen, port).loopback else "no"
    argv = ("redis-server", "--bind", listen, "--port", str(port), "--protected-mode", protected)
    return _process(placement, server, argv, {"client": port}, "")


def _master(placement: Placement, server: PlacedServer, form: MasterForm) -> ProcessSpec:
    rpc, metrics = server.ports.get("rpc", MASTER_PORT), server.ports.get("metrics", _METRICS_PORT)
    ports = {"rpc": rpc, "metrics": metrics}
    options: dict[str, Flag] = {}
    if form.port_always or rpc != MASTER_PORT:
        options[form.port_flag] = rpc
    if metrics != _METRICS_PORT:
        options["metrics_port"] = metrics
    if form.serves_metadata:
        ports["http"] = server.ports.get("http", _METADATA_PORT)
        options |= {"enable_http_metadata_server": True, "http_metadata_server_port": ports["http"]}
    store = placement.deployment.store
    own = {name.replace("-", "_"): value for name, value in (store.flags if store else {}).items()}
    options |= {name: value for name, value in form.defaults.items() if name not in own} | own
    told = options.get("metrics_port", metrics)
    if isinstance(told, int):
        metrics = ports["metrics"] = told
    argv = ["mooncake_master"]
    for name, value in options.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        # Of two arguments, gflags would take the second of a switch for a word of its own.
        argv += [f"--{name}={text}"] if form.joined or isinstance(value, bool) else flag(name, text)
    # It listens on all addresses, whatever the deployment says.
    return _process(placement, server, tuple(argv), ports, url("127.0.0.1", metrics, "/health"))


def _process(
    placement: Placement, server: PlacedServer, argv: tuple[str, ...], ports: Mapping[str, int], asked: str
) -> ProcessSpec:
    assert server.role in {Role.METADATA, Role.STORE}
    return ProcessSpec(
        name=server.name,
        role=server.role,
        node=server.node or placement.local_name,
        argv=argv,
        env={},
        cwd="",
        ports=dict(ports),
        ready=Readiness(asked, placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S),
        log=f"{server.name}.log",
    )
