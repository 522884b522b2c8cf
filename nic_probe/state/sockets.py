"""Who listens on this host, and how many connections wait for their end: `/proc/net/tcp`, `tcp6`, `sockstat`.

Called by `network`. Addresses are those of a little-endian kernel, as every host that serves models has.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["Listener", "probe_listeners", "probe_time_wait"]

# States of net/tcp_states.h in the table's notation.
_LISTEN = "0A"
_TIME_WAIT = "06"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port that somebody listens on.

    Attributes:
        address: the IP address; `0.0.0.0` or `::` for all of them.
    """

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """True when other hosts cannot reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def probe_listeners(files: HostFiles) -> Reading[tuple[Listener, ...]]:
    """Returns the listening ports in this network namespace, by port."""
    table = files.text("proc/net/tcp")
    if table.value is None:
        return Reading(None, table.source, table.reason)
    # A kernel without IPv6 has no second table.
    lines = [*table.value.splitlines(), *files.text("proc/net/tcp6").otherwise("").splitlines()]
    found = {listener for line in lines if f" {_LISTEN} " in line and (listener := _listener(line)) is not None}
    return Reading(tuple(sorted(found, key=lambda listener: (listener.port, listener.address))), table.source)


def probe_time_wait(files: HostFiles) -> Reading[int]:
    """Returns the number of connections in TIME_WAIT."""

    def counted(text: str) -> int | None:
        for line in text.splitlines():
            words = line.split()
            if words[:1] == ["TCP:"] and "tw" in words[:-1]:
                return int(words[words.index("tw") + 1])
        return None

    count = files.text("proc/net/sockstat").convert(counted, "a count of sockets")
    if count.known:
        return count
    rows = files.text("proc/net/tcp")
    return rows.convert(
        lambda text: sum(line.split()[3:4] == [_TIME_WAIT] for line in text.splitlines()), "a table of connections"
    )


def _listener(line: str) -> Listener | None:
    words = line.split()
    if len(words) < 4 or words[3] != _LISTEN:
        return None
    address, _, port = words[1].partition(":")
    try:
        number = int(port, 16)
        raw = bytes.fromhex(address)
    except ValueError:
        return None
    if len(raw) not in (4, 16) or not 0 < number < 1 << 16:
        return None
    # Each group of four bytes is one number of the host.
    ordered = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    ip = ipaddress.ip_address(ordered)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return Listener(str(mapped or ip), number)
