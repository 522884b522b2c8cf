"""Judgements about a host: each check is a function from a Host to findings, without reading anything itself.

An attribute that could not be read is `unknown`, never a failure. Called by the panel and by `check_host`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from .finding import Evidence, Finding, Severity
from .host import Host

__all__ = ["CHECKS", "check_host", "ibverbs_missing", "mooncake_listens_everywhere", "rdma_none"]

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


def rdma_none(host: Host) -> list[Finding]:
    """Finds a host on which KV can travel over TCP alone."""
    devices = host.rdma
    if devices.value is None:
        return [
            Finding(
                id="rdma-none",
                severity=Severity.UNKNOWN,
                subject="RDMA devices",
                evidence=(Evidence(devices.source, devices.reason),),
                reason="Whether this host has an RDMA device is not known.",
                remedy="Let this user read /sys/class/infiniband.",
            )
        ]
    active = [f"{device.name}:{port.number}" for device in devices.value for port in device.ports if port.active]
    if active:
        return []
    if not devices.value:
        evidence = (Evidence(devices.source, "lists no device"),)
        reason = "This host has no RDMA device, so KV travels between workers over TCP."
        remedy = "On a host that has one, load the driver of its RDMA NIC."
    else:
        evidence = tuple(
            Evidence(f"{devices.source}/{device.name}/ports/{port.number}/state", str(port.state))
            for device in devices.value
            for port in device.ports
        ) or tuple(Evidence(f"{devices.source}/{device.name}/ports", "lists no port") for device in devices.value)
        reason = "No RDMA port of this host is ACTIVE, so KV travels between workers over TCP."
        remedy = "Look at the cable and the switch port, and on InfiniBand at the subnet manager."
    return [Finding("rdma-none", Severity.INFO, "RDMA devices", evidence, reason, remedy)]


def ibverbs_missing(host: Host) -> list[Finding]:
    """Finds a missing RDMA user library, which Mooncake needs even where it uses TCP."""
    if host.ibverbs.known:
        return []
    return [
        Finding(
            id="ibverbs-missing",
            severity=Severity.WARNING if host.live else Severity.UNKNOWN,
            subject="libibverbs.so.1",
            evidence=(Evidence(host.ibverbs.source, host.ibverbs.reason),),
            reason=(
                "Mooncake does not import without this library, so workers fall back to the tcp transport."
                if host.live
                else "Whether the library that Mooncake needs is installed there is not known."
            ),
            remedy="Install the RDMA user library: apt-get install libibverbs1, or dnf install libibverbs.",
        )
    ]


def mooncake_listens_everywhere(host: Host) -> list[Finding]:
    """Says that Mooncake's ports are open on every address of the host.

    Each worker opens a handshake port on 0.0.0.0 and a data port on the IPv6 wildcard, whatever host it is
    given and whatever MC_TCP_BIND_ADDRESS says (which changes only the address that is advertised). Seen
    with ss on 0.3.13.post1.
    """
    known = bool(host.netdevs) and all(netdev.addresses.known for netdev in host.netdevs)
    reachable = tuple(
        Evidence(netdev.name, ", ".join(addresses))
        for netdev in host.netdevs
        if (addresses := _reachable(netdev.addresses.otherwise(())))
    )
    if reachable:
        severity = Severity.WARNING
        reason = (
            "Each Mooncake worker listens on two ports between 15000 and 17000 on all addresses, so whoever "
            "reaches this host on one of these interfaces reaches the KV memory of the workers."
        )
    elif known:
        severity = Severity.INFO
        reason = "Each Mooncake worker listens on all addresses, and this host has none but its loopback."
    else:
        severity = Severity.UNKNOWN
        reason = "Each Mooncake worker listens on all addresses, and the addresses of this host are not known."
    no_address = tuple(Evidence(netdev.name, netdev.addresses.reason or "loopback alone") for netdev in host.netdevs)
    return [
        Finding(
            id="mooncake-listens-everywhere",
            severity=severity,
            subject="ports 15000 to 17000 (MC_MIN_RPC_PORT to MC_MAX_RPC_PORT)",
            evidence=reachable or no_address,
            reason=reason,
            remedy="Close these ports with a firewall, run in a network namespace, or use the tcp transport.",
        )
    ]


CHECKS: tuple[Callable[[Host], list[Finding]], ...] = (
    ibverbs_missing,
    rdma_none,
    mooncake_listens_everywhere,
)


def check_host(host: Host) -> tuple[Finding, ...]:
    """Returns the findings of all checks, the gravest first."""
    findings = [finding for check in CHECKS for finding in check(host)]
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def _reachable(addresses: tuple[str, ...]) -> list[str]:
    return [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
