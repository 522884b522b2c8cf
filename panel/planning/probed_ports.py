"""Which ports of this host a plan may give out, so that whoever starts it can look whether they are free. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..dialects.dialect import Dialect
from ..dialects.routers import METRICS_PORT
from ..metadata.address import parse_endpoint, parse_metadata_server
from .rpc_band import FIRST_RPC_PORT
from .servers import CHOSEN_PORTS

__all__ = ["probed_ports"]

_BAND = 512


def probed_ports(deployment: Deployment, dialect: Dialect) -> frozenset[int]:
    """Returns the ports that the deployment names, those that the plan may choose, and 512 after each."""
    firsts = {port for port in (*_defaults(deployment, dialect), *_wished(deployment)) if port is not None}
    return frozenset(port for first in firsts for port in range(first, min(first + _BAND, 65536)))


def _defaults(deployment: Deployment, dialect: Dialect) -> Iterator[int | None]:
    ports = dialect.ports
    yield from (*ports.http.values(), *ports.kv.values(), ports.dist, ports.router, ports.bootstrap)
    yield METRICS_PORT.get(deployment.router.kind or next(iter(dialect.routers), "none"))
    if deployment.rpc_ports == "auto":
        yield FIRST_RPC_PORT
    if (deployment.metadata and deployment.metadata.start) or (deployment.store and deployment.store.start):
        yield from CHOSEN_PORTS


def _wished(deployment: Deployment) -> Iterator[int | None]:
    for part in (deployment.prefill, deployment.decode, deployment.unified, deployment.encoder):
        yield from (part.port, part.bootstrap_port, part.kv_port, part.dist_port)
    yield from (deployment.router.port, deployment.router.metrics_port)
    if isinstance(deployment.rpc_ports, tuple):
        yield deployment.rpc_ports[0]
    try:  # What is wrong with an address is said by whoever places the server.
        if deployment.metadata and deployment.metadata.start:
            yield from (each.port for each in parse_metadata_server(deployment.metadata.server).endpoints)
        if deployment.store and deployment.store.start:
            yield parse_endpoint(deployment.store.master, field="store.master").port
    except ConfigError:
        return
