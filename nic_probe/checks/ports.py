"""Checks of TCP ports: who has taken the usual ones, which the kernel gives away, what is open to everybody."""

from __future__ import annotations

import ipaddress

from ..finding import Evidence, Finding, Severity
from .check import Check, Rule
from .evidence import in_ranges, seen
from .view import HostView

__all__ = ["CHECKS", "USUAL_PORTS", "mooncake_ports"]

USUAL_PORTS = {
    2379: "etcd clients",
    2380: "etcd peers",
    8000: "router",
    8080: "HTTP metadata server",
    8998: "SGLang bootstrap",
    12001: "Mooncake handshake",
    29000: "router metrics",
    30000: "SGLang prefill",
    30001: "SGLang decode",
}
"""The ports that recipes name, by number, and what listens there."""

_ETCD = 2379
_FIRST, _LAST = 15000, 17000
# A connection holds its port for a minute after its end; half the ports in that state leave little.
_SHARE_OF_PORTS = 0.5

_IN_USE = Rule(
    "ports-in-use",
    "Usual ports of PD serving that somebody listens on",
    "Recipes name fixed ports: 8998 for the bootstrap server, 30000 and 30001 for workers, 8000 for a router. A "
    "second instance on the host, or an old one that was not stopped, makes a new worker fail after minutes of "
    "loading, or lets it talk to the wrong one.",
    ("sgl-project/sglang#21268", "sgl-project/sglang#20952", "ray-project/ray#63741"),
)
_EPHEMERAL = Rule(
    "ports-ephemeral",
    "Ports of workers inside the range that the kernel gives away (ip_local_port_range)",
    "The kernel gives ports of this range to connections that name none. A worker that wants to listen on such a "
    "port finds it taken now and then (EADDRINUSE), most often after minutes of loading.",
    ("sgl-project/sglang#37215", "sgl-project/sglang#7418"),
)
_WINDOW = Rule(
    "mooncake-port-window",
    "The ports that Mooncake chooses from (MC_MIN_RPC_PORT, MC_MAX_RPC_PORT)",
    "Each engine takes two ports at random from this window, and tries again when one is taken. A window that is "
    "empty or full leaves it without a port.",
    ("Mooncake documentation: environment variables",),
)
_TIME_WAIT = Rule(
    "time-wait-many",
    "Connections that wait for their end (TIME_WAIT)",
    "Every TCP connection holds its local port for a minute after it was closed. Mooncake over TCP without a "
    "connection pool opens one for each block, and runs out of ports: connect: Cannot assign requested address.",
    ("Mooncake documentation: troubleshooting",),
)
_ETCD_LOOPBACK = Rule(
    "etcd-loopback",
    "Whether etcd on this host can be reached by others",
    "A metadata server that listens on 127.0.0.1 serves the workers of its own host. Those of other hosts are refused, "
    "and find no peer.",
    ("Mooncake documentation: troubleshooting",),
)
_EVERYWHERE = Rule(
    "mooncake-listens-everywhere",
    "Addresses on which Mooncake listens",
    "Each worker opens a handshake port on 0.0.0.0 and a data port on the IPv6 wildcard, whatever host it is given "
    "and whatever MC_TCP_BIND_ADDRESS says, which changes only the address that is advertised. Whoever reaches the "
    "data port reads and writes the registered KV memory.",
    ("Mooncake wheel 0.3.13.post1, seen with ss",),
)


def mooncake_ports(view: HostView) -> tuple[int, int] | None:
    """Returns the first and last port of Mooncake's window; None when the environment makes none of it."""
    first = _port(view, ("MC_MIN_RPC_PORT", "MC_MIN_PRC_PORT"), _FIRST)
    last = _port(view, ("MC_MAX_RPC_PORT", "MC_MAX_PRC_PORT"), _LAST)
    return (first, last) if first is not None and last is not None and first <= last else None


def ports_in_use(view: HostView) -> list[Finding]:
    """Reports usual ports that are taken; whether a deployment wants them is not known here."""
    listeners = view.state.network.listeners
    taken = {one.port: one for one in listeners.otherwise(()) if one.port in USUAL_PORTS}
    if not taken:
        return []
    return [
        _IN_USE.finding(
            Severity.INFO,
            f"port {', '.join(str(port) for port in taken)}",
            [
                Evidence(listeners.source, f"{one.address} listens on {port}, the usual port for: {USUAL_PORTS[port]}")
                for port, one in taken.items()
            ],
            "A worker that is given one of these ports does not start, or its peers reach whoever is there.",
            f"See who it is with `ss -ltnp '( sport = :{min(taken)} )'`, or give the workers other ports.",
        )
    ]


def ports_ephemeral(view: HostView) -> list[Finding]:
    """Compares the kernel's range with Mooncake's window and the usual ports."""
    network = view.state.network
    bounds = network.ephemeral_ports
    if bounds.value is None:
        return []
    low, high = bounds.value
    reserved = network.reserved_ports.otherwise(())

    def given_away(port: int) -> bool:
        return low <= port <= high and not any(first <= port <= last for first, last in reserved)

    window = mooncake_ports(view)
    exposed: list[str] = []
    if window is not None and any(given_away(port) for port in range(window[0], window[1] + 1)):
        exposed.append(f"{window[0]}-{window[1]}")
    exposed += [str(port) for port in USUAL_PORTS if given_away(port)]
    if not exposed:
        return []
    wanted = ",".join(exposed)
    return [
        _EPHEMERAL.finding(
            Severity.WARNING if view.serves else Severity.INFO,
            "net.ipv4.ip_local_port_range",
            [seen(bounds, f"{low} {high}"), seen(network.reserved_ports, in_ranges(reserved) or "none reserved")],
            f"The kernel gives the ports {wanted} to outgoing connections, so a worker may find its port taken "
            "(sgl-project/sglang#37215).",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={wanted}, or sysctl -w "
            "net.ipv4.ip_local_port_range='32768 60999'",
            wanted,
        )
    ]


def mooncake_port_window(view: HostView) -> list[Finding]:
    """Finds a window in which no port is left."""
    names = [name for name in view.environ if name.endswith(("_RPC_PORT", "_PRC_PORT")) and name.startswith("MC_")]
    window = mooncake_ports(view)
    if window is None:
        return [
            _WINDOW.finding(
                Severity.WARNING,
                "MC_MIN_RPC_PORT to MC_MAX_RPC_PORT",
                [Evidence("environment", f"{name}={view.environ[name]}") for name in names],
                "These two make no range of ports, so Mooncake listens anywhere or nowhere.",
                f"export MC_MIN_RPC_PORT={_FIRST} MC_MAX_RPC_PORT={_LAST}",
                f"{_FIRST}-{_LAST}",
            )
        ]
    listeners = view.state.network.listeners
    taken = {one.port for one in listeners.otherwise(()) if window[0] <= one.port <= window[1]}
    free = window[1] - window[0] + 1 - len(taken)
    wanted = 2 * max(1, len(view.host.gpus.devices))
    if free >= wanted:
        return []
    return [
        _WINDOW.finding(
            Severity.WARNING,
            f"ports {window[0]} to {window[1]}",
            [seen(listeners, f"{len(taken)} of {window[1] - window[0] + 1} are taken")],
            f"The window has {free} left, and each of up to {wanted // 2} workers takes two.",
            f"export MC_MIN_RPC_PORT={_FIRST} MC_MAX_RPC_PORT={_LAST}",
            f"{_FIRST}-{_LAST}",
        )
    ]


def time_wait_many(view: HostView) -> list[Finding]:
    """Judges the connections in TIME_WAIT by the number of ports that there are."""
    network = view.state.network
    low, high = network.ephemeral_ports.otherwise((32768, 60999))
    ports = high - low + 1
    waiting = network.time_wait.value
    if waiting is None or waiting < ports * _SHARE_OF_PORTS:
        return []
    return [
        _TIME_WAIT.finding(
            Severity.WARNING,
            "TIME_WAIT",
            [seen(network.time_wait, f"{waiting} connections"), seen(network.ephemeral_ports, f"{ports} ports")],
            f"{waiting} connections in TIME_WAIT hold most of the {ports} local ports, and new ones fail with Cannot "
            "assign requested address (Mooncake: troubleshooting).",
            "export MC_TCP_ENABLE_CONNECTION_POOL=1; sysctl -w net.ipv4.tcp_tw_reuse=1",
        )
    ]


def etcd_loopback(view: HostView) -> list[Finding]:
    """Reports an etcd that only this host reaches."""
    listeners = view.state.network.listeners
    found = [one for one in listeners.otherwise(()) if one.port == _ETCD]
    if not found or not all(one.loopback for one in found):
        return []
    return [
        _ETCD_LOOPBACK.finding(
            Severity.WARNING,
            f"port {_ETCD}",
            [seen(listeners, f"{found[0].address}:{_ETCD}")],
            "Workers on other hosts cannot reach this etcd; those of this host can.",
            "etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://HOST:2379",
        )
    ]


def mooncake_listens_everywhere(view: HostView) -> list[Finding]:
    """Says that Mooncake's ports are open on every address of the host."""
    netdevs = view.host.netdevs
    reachable = [
        Evidence(netdev.name, ", ".join(addresses))
        for netdev in netdevs
        if (addresses := [one for one in netdev.addresses.otherwise(()) if not ipaddress.ip_address(one).is_loopback])
    ]
    if not reachable and not (netdevs and all(netdev.addresses.known for netdev in netdevs)):
        return []  # The addresses are not known; facts-missing says so.
    first, last = mooncake_ports(view) or (_FIRST, _LAST)
    if reachable:
        reason = (
            f"Each Mooncake worker listens on two ports between {first} and {last} on all addresses, so whoever "
            "reaches this host on one of these interfaces reaches the KV memory of the workers."
        )
    else:
        reason = "Each Mooncake worker listens on all addresses, and this host has none but its loopback."
    return [
        _EVERYWHERE.finding(
            Severity.WARNING if reachable else Severity.INFO,
            f"ports {first} to {last} (MC_MIN_RPC_PORT to MC_MAX_RPC_PORT)",
            reachable or [Evidence(netdev.name, "loopback alone") for netdev in netdevs],
            reason,
            "Close these ports with a firewall, run in a network namespace, or use the tcp transport.",
        )
    ]


def _port(view: HostView, names: tuple[str, ...], default: int) -> int | None:
    text = next((view.environ[name].strip() for name in names if view.environ.get(name, "").strip()), str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        return None
    return int(text) if 0 < int(text) < 1 << 16 else None


CHECKS: tuple[Check[HostView], ...] = (
    Check(_IN_USE, ports_in_use),
    Check(_EPHEMERAL, ports_ephemeral),
    Check(_WINDOW, mooncake_port_window),
    Check(_TIME_WAIT, time_wait_many),
    Check(_ETCD_LOOPBACK, etcd_loopback),
    Check(_EVERYWHERE, mooncake_listens_everywhere),
)
