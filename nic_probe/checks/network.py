"""Checks of the IP network around the workers: addresses, names, interfaces, rules between several NICs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ..finding import Evidence, Finding, Severity
from ..netdev import Netdev
from .check import Check, Rule
from .evidence import listed, seen, variable
from .view import HostView

__all__ = ["CHECKS"]

# Bridges and tunnels of containers and virtual machines: their addresses mean nothing to other hosts.
_OVERLAYS = ("docker", "br-", "veth", "cni", "flannel", "cali", "tunl", "vxlan", "virbr", "lxc", "podman", "kube")
_ADDRESS_VARIABLES = ("VLLM_HOST_IP", "SGLANG_HOST_IP", "MC_TCP_BIND_ADDRESS", "MC_RDMA_BIND_ADDRESS")
_INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")

_NETDEV = Rule(
    "netdev-not-ready",
    "State and addresses of the interfaces below RoCE ports",
    "RoCE takes its addresses from the network interface of the NIC. An interface that is down, or that has no IP "
    "address, leaves the port with link-local GIDs or none, although the port itself is ACTIVE.",
    ("Linux: ib_core RoCE GID management",),
)
_SUBNET = Rule(
    "nics-in-one-subnet",
    "Rules for several NICs in one IP subnet (rp_filter, arp_ignore, arp_announce)",
    "With several interfaces in one subnet Linux answers ARP for any address on any of them and sends replies by the "
    "first route. Peers then learn a wrong port for an address, and rp_filter=1 drops what comes in by another "
    "interface, so RDMA connections fail for some pairs of NICs.",
    ("Linux: Documentation/networking/ip-sysctl", "NVIDIA: RoCE with several interfaces in one subnet"),
)
_DUPLICATE = Rule(
    "duplicate-address",
    "IP addresses that two interfaces share",
    "When two interfaces have the same address, one of them gets the traffic of both. RoCE connections to that address "
    "then reach the wrong NIC or none.",
    ("Linux: Documentation/networking/ip-sysctl",),
)
_HOSTNAME = Rule(
    "hostname-loopback",
    "What the host's own name resolves to",
    "Engines ask for the address of the host's name and tell it to their peers. Debian and Ubuntu write 127.0.1.1 "
    "into /etc/hosts, so that the peer is told to connect to itself.",
    ("vllm-project/vllm#42090", "kvcache-ai/Mooncake#225", "kvcache-ai/Mooncake#256"),
)
_ADVERTISED = Rule(
    "addresses-several",
    "Addresses that a worker may advertise to its peers",
    "On a host with several addresses an engine or Mooncake picks one, often the first. That may be a container bridge "
    "(docker0) or a management network, which the peer does not reach.",
    ("vllm-project/vllm#42090", "vllm-project/vllm#42023", "kvcache-ai/Mooncake#1371"),
)
_NOT_HERE = Rule(
    "address-not-here",
    "Addresses and interfaces that variables name",
    "VLLM_HOST_IP, MC_TCP_BIND_ADDRESS and their like are told to the peers as they are. An address of another host, "
    "left over from a script, makes every transfer end in a connection refused or in the wrong place.",
    ("vllm-project/vllm#42090", "kvcache-ai/Mooncake#1371"),
)


def netdev_not_ready(view: HostView) -> list[Finding]:
    """Finds interfaces of ACTIVE RoCE ports that are down or have no address."""
    netdevs = {netdev.name: netdev for netdev in view.host.netdevs}
    findings: dict[str, Finding] = {}
    for nic in view.active_nics:
        for port in nic.ports:
            for name in port.netdevs if port.active and port.link_layer.value == "Ethernet" else ():
                netdev = netdevs.get(name)
                if netdev is None or name in findings:
                    continue
                evidence, what = _unready(netdev, netdevs)
                if evidence:
                    findings[name] = _NETDEV.finding(
                        Severity.WARNING,
                        f"{name} ({nic.name})",
                        evidence,
                        f"{name} {what}, so {nic.name} has no address by which other hosts reach it.",
                        f"ip link set {name} up; ip addr add ADDRESS/PREFIX dev {name}",
                    )
    return list(findings.values())


def nics_in_one_subnet(view: HostView) -> list[Finding]:
    """Judges the rules of interfaces that share a subnet."""
    arp = view.state.network.arp
    networks: dict[str, list[str]] = {}
    below = {name for nic in view.active_nics for port in nic.ports if port.active for name in port.netdevs}
    for netdev in view.host.netdevs:
        for network in netdev.networks.otherwise(()) if netdev.name in below and netdev.name in arp else ():
            if ":" not in network and not network.endswith("/32"):
                networks.setdefault(network, []).append(netdev.name)
    findings: list[Finding] = []
    for network, names in sorted(networks.items()):
        if len(set(names)) < 2:
            continue
        strict = [name for name in names if arp[name].rp_filter.value == 1]
        answers = [name for name in names if arp[name].arp_ignore.value == 0]
        asks = [name for name in names if arp[name].arp_announce.value == 0]
        if not strict and not answers and not asks:
            continue
        lines = [
            *(
                ["net.ipv4.conf.all.rp_filter=0", *(f"net.ipv4.conf.{name}.rp_filter=2" for name in strict)]
                * bool(strict)
            ),
            *(["net.ipv4.conf.all.arp_ignore=1"] * bool(answers)),
            *(["net.ipv4.conf.all.arp_announce=2"] * bool(asks)),
        ]
        findings.append(
            _SUBNET.finding(
                Severity.WARNING,
                f"{listed(names)} in {network}",
                [
                    *(seen(arp[name].rp_filter, "1") for name in strict),
                    *(seen(arp[name].arp_ignore, "0") for name in answers),
                    *(seen(arp[name].arp_announce, "0") for name in asks),
                ],
                f"{len(set(names))} NICs share the subnet {network}, and "
                + ("rp_filter=1 drops packets" if strict else "ARP answers name the wrong NIC")
                + " between some pairs of hosts.",
                f"sysctl -w {' '.join(lines)}, or give each NIC a subnet of its own.",
            )
        )
    return findings


def duplicate_address(view: HostView) -> list[Finding]:
    """Finds addresses that two interfaces have."""
    owners: dict[str, list[str]] = {}
    for netdev in view.host.netdevs:
        for address in netdev.addresses.otherwise(()):
            ip = _ip(address)
            if ip is not None and not ip.is_loopback and not ip.is_link_local:
                owners.setdefault(str(ip), []).append(netdev.name)
    wired = {name for nic in view.nics for port in nic.ports for name in port.netdevs}
    return [
        _DUPLICATE.finding(
            Severity.WARNING if wired & set(names) else Severity.INFO,
            address,
            [Evidence(name, address) for name in names],
            f"{listed(names)} have the same address {address}, and only one of them gets its traffic.",
            f"ip addr del {address}/PREFIX dev {names[-1]}",
        )
        for address, names in sorted(owners.items())
        if len(set(names)) > 1
    ]


def hostname_loopback(view: HostView) -> list[Finding]:
    """Judges what the host's name resolves to."""
    resolved = view.state.network.hostname_addresses
    if resolved.value is None:
        return []
    others = [address for address in resolved.value if (ip := _ip(address)) is not None and not ip.is_loopback]
    if others:
        return []
    candidate = next(iter(_candidates(view)), "")
    return [
        _HOSTNAME.finding(
            # With no address but loopback there is no other host to be misled.
            Severity.WARNING if view.active_nics and candidate else Severity.INFO,
            view.host.name.otherwise("host name"),
            [seen(resolved, listed(resolved.value) or "resolves to nothing")],
            "The host's name leads to itself alone, so a peer that is told this name or address connects to itself "
            "(vllm-project/vllm#42090).",
            f"Write `{candidate or 'ADDRESS'} {view.host.name.otherwise('HOSTNAME')}` into /etc/hosts, or name the "
            f"address: --host {candidate or 'ADDRESS'}, export VLLM_HOST_IP={candidate or 'ADDRESS'}",
            candidate or None,
        )
    ]


def addresses_several(view: HostView) -> list[Finding]:
    """Lists the addresses that a worker may tell its peers, and which of them mean nothing to a peer."""
    candidates = _candidates(view)
    overlays = [netdev for netdev in view.host.netdevs if _is_overlay(netdev) and _global(netdev)]
    if len(candidates) + len(overlays) < 2 or any(name in view.environ for name in _ADDRESS_VARIABLES):
        return []
    route = next((netdev for netdev in view.host.netdevs if netdev.default_route.value and _global(netdev)), None)
    likely = _global(route)[0] if route is not None and not _is_overlay(route) else next(iter(candidates), "")
    if not likely:
        return []
    return [
        _ADVERTISED.finding(
            Severity.INFO,
            "advertised address",
            [Evidence(netdev.name, ", ".join(_global(netdev))) for netdev in view.host.netdevs if _global(netdev)],
            "A worker may advertise any of these addresses"
            + (f", also {listed(netdev.name for netdev in overlays)}, which no other host reaches" if overlays else "")
            + " (vllm-project/vllm#42090, kvcache-ai/Mooncake#1371).",
            f"Name the one that the peers reach: --host {likely}, export VLLM_HOST_IP={likely} "
            f"MC_TCP_BIND_ADDRESS={likely}",
            likely,
        )
    ]


def address_not_here(view: HostView) -> list[Finding]:
    """Finds variables that name an address or an interface which this host does not have."""
    known = bool(view.host.netdevs) and all(netdev.addresses.known for netdev in view.host.netdevs)
    own = {str(_ip(address)) for netdev in view.host.netdevs for address in netdev.addresses.otherwise(())}
    candidates = _candidates(view)
    findings: list[Finding] = []
    for name in _ADDRESS_VARIABLES:
        value = view.environ.get(name, "").strip()
        ip = _ip(value)
        if ip is None or not known or (str(ip) in own):
            continue
        findings.append(
            _NOT_HERE.finding(
                Severity.WARNING if ip.is_unspecified else Severity.ERROR,
                name,
                [variable(name, value), Evidence("addresses of this host", listed(sorted(own)))],
                f"{name} names {value}, which is no address of this host, so peers connect to the wrong place "
                "(vllm-project/vllm#42090).",
                f"export {name}={candidates[0]}" if candidates else f"unset {name}",
                candidates[0] if candidates else None,
            )
        )
    names = {netdev.name for netdev in view.host.netdevs}
    for name in _INTERFACE_VARIABLES:
        value = view.environ.get(name, "").strip()
        if not value or not names or value[0] == "^" or _matching(value, names):
            continue
        findings.append(
            _NOT_HERE.finding(
                Severity.ERROR if view.host.gpus.devices else Severity.WARNING,
                name,
                [variable(name, value), Evidence("/sys/class/net", listed(sorted(names)))],
                f"{name} names no interface of this host, so workers of one model do not find each other.",
                f"unset {name}, or name one of: {listed(sorted(names - {'lo'}))}",
            )
        )
    return findings


def _unready(netdev: Netdev, netdevs: dict[str, Netdev]) -> tuple[list[Evidence], str]:
    if netdev.operstate.value == "down" or netdev.carrier.value is False:
        return [seen(netdev.operstate, f"{netdev.operstate}, carrier {netdev.carrier}")], "is down"
    # A member of a bond, and an interface with VLANs, leave the address to the one above.
    above = netdev.master.known or any(name.startswith(f"{netdev.name}.") for name in netdevs)
    if netdev.addresses.known and not above and not _global(netdev):
        return [seen(netdev.addresses, listed(netdev.addresses.otherwise(())) or "no address")], "has no IP address"
    return [], ""


def _candidates(view: HostView) -> list[str]:
    """Returns the addresses that other hosts may reach, that of the default route first, IPv4 before IPv6."""
    ordered = sorted(view.host.netdevs, key=lambda netdev: netdev.default_route.value is not True)
    found = [address for netdev in ordered if not _is_overlay(netdev) for address in _global(netdev)]
    return sorted(found, key=lambda address: ":" in address)


def _global(netdev: Netdev) -> list[str]:
    found = [(address, _ip(address)) for address in netdev.addresses.otherwise(())]
    return [address for address, ip in found if ip is not None and not ip.is_loopback and not ip.is_link_local]


def _is_overlay(netdev: Netdev) -> bool:
    return netdev.name.startswith(_OVERLAYS)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _matching(value: str, names: Iterable[str]) -> bool:
    """NCCL takes a comma list of prefixes; after `=` the names have to be whole."""
    exact = value.startswith("=")
    wanted = [part for part in value.lstrip("=").split(",") if part]
    return any(name == part or (not exact and name.startswith(part)) for part in wanted for name in names)


CHECKS: tuple[Check[HostView], ...] = (
    Check(_NETDEV, netdev_not_ready),
    Check(_SUBNET, nics_in_one_subnet),
    Check(_DUPLICATE, duplicate_address),
    Check(_HOSTNAME, hostname_loopback),
    Check(_ADVERTISED, addresses_several),
    Check(_NOT_HERE, address_not_here),
)
