"""Which transport a worker uses: the one asked for, or plain sockets with a notice that says why."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass, replace

from ..errors import TransferError
from ..log import record
from ..mooncake_config import P2P, MooncakeConfig
from .address import reachable_host
from .api import Endpoint, TransferSettings
from .faults import FaultPlan
from .faulty import FaultyEndpoint
from .mooncake import MooncakeEndpoint, Registry, apply_environment, mooncake_environment
from .nixl import NixlEndpoint
from .shm import ShmEndpoint
from .tcp import TcpEndpoint

__all__ = ["SHARED_MEMORY", "Selection", "open_endpoint"]

# The transports that need the staging memory to be one that other processes can map.
SHARED_MEMORY = frozenset({"shm", "nixl"})
_PLAIN = "The KV travels over plain TCP sockets."


@dataclass(frozen=True, slots=True)
class Selection:
    """An endpoint, and what to tell the user about it.

    Attributes:
        requested: the backend asked for.
        notice: why another one is used; empty when it is the one asked for.
        staged: that GPU memory is not what it moves, and why; empty where it is, or where there is none.
    """

    endpoint: Endpoint
    requested: str
    notice: str = ""
    staged: str = ""

    @property
    def used(self) -> str:
        """The backend that carries the KV."""
        return self.requested if not self.notice else self.endpoint.kind


def open_endpoint(
    backend: str,
    *,
    host: str,
    device: str,
    settings: TransferSettings,
    environ: MutableMapping[str, str],
    mooncake: MooncakeConfig | None = None,
    port: int = 0,
    faults: FaultPlan | None = None,
) -> Selection:
    """Opens the endpoint of a worker.

    Args:
        backend: mooncake, mooncake_tcp (Mooncake, TCP even where RDMA devices are), nixl, shm (same host) or tcp.
        host: address that peers reach this process at.
        device: RDMA devices for Mooncake, comma separated; empty chooses by topology.
        environ: the process's environment, where Mooncake's library looks for its settings.
        mooncake: what MOONCAKE_CONFIG_PATH says; the flags go first.
        port: tells people in the name that a metadata server lists which process it is.
        faults: what is to go wrong with writes; for tests.

    Raises:
        TransferError: the transport, and plain sockets in its place, cannot be opened.
    """
    selection = _open(backend, host, device, settings, environ, mooncake or MooncakeConfig(), port)
    if faults is None:
        return selection
    record("faulty_transport", level=logging.WARNING, plan=str(faults))
    return replace(selection, endpoint=FaultyEndpoint(selection.endpoint, faults, settings))


def _open(
    backend: str,
    host: str,
    device: str,
    settings: TransferSettings,
    environ: MutableMapping[str, str],
    given: MooncakeConfig,
    port: int,
) -> Selection:
    if backend == "tcp":
        return Selection(TcpEndpoint(host, settings), backend)
    if backend == "shm":
        return Selection(ShmEndpoint(settings), backend)
    if backend == "nixl":
        try:
            return Selection(NixlEndpoint(host, device, settings, environ), backend)
        except TransferError as error:
            return Selection(TcpEndpoint(host, settings), backend, f"{error} {_PLAIN}")
    force_tcp = backend == "mooncake_tcp" or given.protocol == "tcp"
    host = given.local_hostname or host
    apply_environment(mooncake_environment(settings, force_tcp=force_tcp), environ)
    if given.metadata_server != P2P:
        # Without it the first address of the host that is not loopback would be registered (transports.md 4.3).
        apply_environment({"MC_TCP_BIND_ADDRESS": reachable_host(host)}, environ)
    try:
        endpoint = MooncakeEndpoint(
            host,
            "" if force_tcp else device or given.device_name,
            settings,
            protocol="tcp" if force_tcp else "rdma",
            registry=Registry(given.metadata_server, port) if given.metadata_server != P2P else None,
        )
    except TransferError as error:
        return Selection(TcpEndpoint(host, settings), backend, f"{error} {_PLAIN}")
    return Selection(endpoint, backend)
