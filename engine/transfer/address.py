"""The address that an endpoint gives to peers when it listens on all of them."""

from __future__ import annotations

import socket

__all__ = ["reachable_host"]

# Documentation prefixes (RFC 5737, RFC 3849): connecting a datagram socket sends nothing, it only picks a route.
_SOMEWHERE = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1", "127.0.0.1"),
    "::": (socket.AF_INET6, "2001:db8::1", "::1"),
}


def reachable_host(host: str) -> str:
    """Returns `host`, or for a wildcard the host's address on its default route; without a route the loopback's."""
    if host not in _SOMEWHERE:
        return host
    family, somewhere, loopback = _SOMEWHERE[host]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            return probe.getsockname()[0]
    except OSError:
        return loopback
