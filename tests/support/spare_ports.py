"""Ports that stay free until what is tested binds them.

The kernel gives ports of its ephemeral range to anybody who connects somewhere, so these lie below it; and they are
drawn by chance, so that two runs on one machine do not draw the same ones.
"""

from __future__ import annotations

import contextlib
import random
import socket

__all__ = ["spare_port", "spare_ports"]

# Above Mooncake's own band and below the ephemeral ports of Linux.
_FIRST, _LAST = 18000, 32000


def spare_ports(count: int) -> list[int]:
    """Returns ports of all addresses of this host that nobody listens on."""
    found: list[int] = []
    # Not the generator of the tests, whose seed is the same in each of them.
    for port in random.SystemRandom().sample(range(_FIRST, _LAST), _LAST - _FIRST):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            found.append(port)
    assert len(found) == count, "this host has no free ports"
    return found


def spare_port() -> int:
    """Returns one."""
    return spare_ports(1)[0]
