"""Ports and per-interface rules of the host's IP stack, as far as only checks need them.

Called by `host_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts, as_texts
from .sockets import Listener, probe_listeners, probe_time_wait

__all__ = ["ArpRules", "NetworkState", "probe_network"]

_CONF = "proc/sys/net/ipv4/conf"


@dataclass(frozen=True, slots=True)
class ArpRules:
    """How an interface answers for the host's addresses; the kernel uses the larger of its value and that of `all`.

    Attributes:
        rp_filter: 1 drops what comes in by another interface than the answer would leave by.
        arp_ignore: 0 answers for addresses of other interfaces too.
        arp_announce: 0 asks with addresses of other interfaces too.
    """

    rp_filter: Reading[int]
    arp_ignore: Reading[int]
    arp_announce: Reading[int]


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The IP stack.

    Attributes:
        ephemeral_ports: first and last port that the kernel gives to connections that name none.
        reserved_ports: ports that it leaves out of that range, as first and last.
        listeners: who listens on TCP.
        time_wait: connections in TIME_WAIT.
        hostname_addresses: what the host's own name resolves to.
        arp: the rules by interface, with those of `all` taken into account; physical interfaces and bonds alone.
    """

    ephemeral_ports: Reading[tuple[int, int]]
    reserved_ports: Reading[tuple[tuple[int, int], ...]]
    listeners: Reading[tuple[Listener, ...]]
    time_wait: Reading[int]
    hostname_addresses: Reading[tuple[str, ...]]
    arp: Mapping[str, ArpRules]


def probe_network(files: HostFiles, facts: Facts) -> NetworkState:
    """Returns the state of the IP stack in this network namespace."""
    everywhere = _rules(files, "all")
    return NetworkState(
        ephemeral_ports=files.text("proc/sys/net/ipv4/ip_local_port_range").convert(_two_ports, "two ports"),
        reserved_ports=files.text("proc/sys/net/ipv4/ip_local_reserved_ports", may_be_empty=True).convert(
            _port_ranges, "a list of ports"
        ),
        listeners=probe_listeners(files),
        time_wait=probe_time_wait(files),
        hostname_addresses=facts.read("hostname_addresses", as_texts, "a list of addresses"),
        arp={name: _larger(everywhere, _rules(files, name)) for name in _wired(files)},
    )


def _wired(files: HostFiles) -> list[str]:
    """Interfaces that traffic leaves the host by; a host of containers has hundreds of others."""
    folder = "sys/class/net"
    names = files.names(folder).otherwise(())
    return [
        name
        for name in names
        if "/virtual/" not in files.target(f"{folder}/{name}").otherwise("") or files.exists(f"{folder}/{name}/bonding")
    ]


def _rules(files: HostFiles, name: str) -> ArpRules:
    return ArpRules(*(files.integer(f"{_CONF}/{name}/{rule}") for rule in ("rp_filter", "arp_ignore", "arp_announce")))


def _larger(everywhere: ArpRules, own: ArpRules) -> ArpRules:
    def pick(one: Reading[int], other: Reading[int]) -> Reading[int]:
        if one.value is None or other.value is None:
            return other if one.value is None else one
        return one if one.value >= other.value else other

    return ArpRules(
        pick(everywhere.rp_filter, own.rp_filter),
        pick(everywhere.arp_ignore, own.arp_ignore),
        pick(everywhere.arp_announce, own.arp_announce),
    )


def _two_ports(text: str) -> tuple[int, int] | None:
    words = text.split()
    if len(words) != 2:
        return None
    first, last = (int(word) for word in words)
    return (first, last) if 0 < first <= last < 1 << 16 else None


def _port_ranges(text: str) -> tuple[tuple[int, int], ...] | None:
    ranges: list[tuple[int, int]] = []
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        ranges.append((int(first), int(last) if dash else int(first)))
    return tuple(ranges)
