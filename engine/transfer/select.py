"""Which transport a worker uses: the one asked for, or plain sockets with a notice that says why."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

from ..errors import TransferError
from .api import Endpoint, TransferSettings
from .mooncake import MooncakeEndpoint, apply_environment, mooncake_environment
from .tcp import TcpEndpoint

__all__ = ["Selection", "open_endpoint"]


@dataclass(frozen=True, slots=True)
class Selection:
    """An endpoint, and what to tell the user about it.

    Attributes:
        requested: the backend asked for.
        notice: why another one is used; empty when it is the one asked for.
    """

    endpoint: Endpoint
    requested: str
    notice: str = ""

    @property
    def used(self) -> str:
        """The backend that carries the KV."""
        return self.requested if not self.notice else self.endpoint.kind


def open_endpoint(
    backend: str, *, host: str, device: str, settings: TransferSettings, environ: MutableMapping[str, str]
) -> Selection:
    """Opens the endpoint of a worker.

    Args:
        backend: mooncake, mooncake_tcp (Mooncake, TCP even where RDMA devices are) or tcp.
        host: address that peers reach this process at.
        device: RDMA devices for Mooncake, comma separated; empty chooses by topology.
        environ: the process's environment, where Mooncake's library looks for its settings.

    Raises:
        TransferError: not even plain sockets can be opened.
    """
    if backend == "tcp":
        return Selection(TcpEndpoint(host, settings), backend)
    force_tcp = backend == "mooncake_tcp"
    apply_environment(mooncake_environment(settings, force_tcp=force_tcp), environ)
    try:
        endpoint = MooncakeEndpoint(
            host, "" if force_tcp else device, settings, protocol="tcp" if force_tcp else "rdma"
        )
    except TransferError as error:
        return Selection(TcpEndpoint(host, settings), backend, f"{error} The KV travels over plain TCP sockets.")
    return Selection(endpoint, backend)
