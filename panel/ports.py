"""Which TCP ports of this host are free, found by binding, and who holds one that is not.

The planner is pure: it is handed `taken_ports` of the bands it may choose from. Free now is not free later,
so bands lie outside the kernel's ephemeral range where possible, and the ports of other live runs count as
taken (`panel.runs`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

__all__ = [
    "BAND",
    "BOOTSTRAP_BAND",
    "ROUTER_BAND",
    "WORKER_BAND",
    "choose_port",
    "is_free",
    "port_holder",
    "taken_ports",
]

BAND = 512
WORKER_BAND = range(30000, 30000 + BAND)
BOOTSTRAP_BAND = range(8998, 8998 + BAND)
ROUTER_BAND = range(8000, 8000 + BAND)


def is_free(host: str, port: int) -> bool:
    """Returns True if a server could bind `port` on `host` now (sockets in TIME_WAIT do not count)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # A bind alone succeeds beside another SO_REUSEADDR socket that has not begun to listen.
            probe.listen(1)
        except OSError as error:
            return error.errno not in {errno.EADDRINUSE, errno.EACCES}
    return True


def taken_ports(host: str, ports: Iterable[int]) -> frozenset[int]:
    """Returns those of `ports` that cannot be bound on `host` now."""
    return frozenset(port for port in ports if not is_free(host, port))


def choose_port(band: range, taken: Iterable[int], ephemeral: tuple[int, int]) -> int | None:
    """Returns the first port of `band` that is not in `taken`, if possible outside `ephemeral`.

    None if all are taken.
    """
    low, high = ephemeral
    used = frozenset(taken)
    inside = None
    for port in band:
        if port in used:
            continue
        if not low <= port <= high:
            return port
        inside = port if inside is None else inside
    return inside


def port_holder(port: int) -> str:
    """Returns who listens on `port`, such as "process 77 (nginx)", as far as this user may know."""
    import psutil  # only for this sentence: it would cost every start of the command line

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return "another process"
