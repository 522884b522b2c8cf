"""nftables rules for each node of a deployment over several: its hosts alone reach the ports of the node. Pure.

Only ports of the plan are touched, so that whatever else a host does goes on as before. Everybody reaches the router,
or the unified workers where there is none. Ports that an engine draws from the kernel's ephemeral range cannot be
named here (SGLang's ZMQ ports of each rank are such).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..deployment import Deployment
from ..dialects.registry import dialect_of
from ..launch import LaunchPlan, ProcessSpec, Role
from ..planning.derived_ports import dist_offsets, http_offsets, kv_offsets
from .exported import ExportedFile
from .nodes import Node

__all__ = ["firewall_files", "table_name"]

_KV = ("kv", "side-channel")
Offsets = Mapping[tuple[Role, str], Sequence[int]]
_WORKERS = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)


def firewall_files(plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node]) -> tuple[ExportedFile, ...]:
    """Returns `firewall.nft` in each node's folder; nothing when all runs on one node."""
    if len(nodes) < 2:
        return ()
    peers = sorted({node.address for node in nodes}, key=_order)
    families = {
        "ip": ("hosts4", "ipv4_addr", [peer for peer in peers if _version(peer) != 6]),
        "ip6": ("hosts6", "ipv6_addr", [peer for peer in peers if _version(peer) == 6]),
    }
    sets = "\n".join(_set(*family) for family in families.values() if family[2])
    sources = [f"{family} saddr @{name}" for family, (name, _, members) in families.items() if members]
    fronts = (Role.ROUTER, Role.PROXY)
    if not any(spec.role in fronts for spec in plan.processes):
        fronts = (Role.UNIFIED,)
    offsets = _offsets(plan, deployment)
    return tuple(
        ExportedFile(f"{node.label}/firewall.nft", _rules(table_name(plan), sets, sources, node, fronts, offsets))
        for node in nodes
    )


def table_name(plan: LaunchPlan) -> str:
    """Returns the name of the table of rules."""
    return f"pdpanel_{plan.run_name.replace('-', '_')}"


def _offsets(plan: LaunchPlan, deployment: Deployment) -> Offsets:
    """Returns what workers of each role take beside the ports of the plan, by role and purpose."""
    dialect = dialect_of(deployment)
    settings = {role: deployment.settings(role.value) for role in {spec.role for spec in plan.processes} & {*_WORKERS}}
    return {
        (role, purpose): offsets
        for role, spec in settings.items()
        for purpose, offsets in (
            ("http", http_offsets(dialect, spec)),
            ("dist", range(max(dist_offsets(dialect)) + 1)),
            *((name, kv_offsets(dialect, spec)) for name in _KV),
        )
    }


def _rules(
    table: str, sets: str, sources: Sequence[str], node: Node, fronts: tuple[Role, ...], offsets: Offsets
) -> str:
    open_ports = [spec.ports["http"] for spec in node.processes if spec.role in fronts and "http" in spec.ports]
    everybody = {(port, port) for port in open_ports}
    own = {ports for spec in node.processes for ports in _ranges(spec, offsets)} - everybody
    lines = [
        "#!/usr/sbin/nft -f",
        "# Load it with `nft -f`; loading it again replaces it. Names of hosts are looked up when it is loaded.",
        f"table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        sets,
        "  chain input {",
        "    type filter hook input priority filter; policy accept;",
        "    ct state established,related accept",
        '    iifname "lo" accept',
    ]
    if everybody:
        lines.append(f"    tcp dport {_ports(everybody)} accept")
    if own:
        ports = _ports(own)
        lines += [f"    {source} tcp dport {ports} accept" for source in sources]
        lines.append(f"    tcp dport {ports} drop")
    return "\n".join([*lines, "  }", "}"]) + "\n"


def _set(name: str, kind: str, members: Sequence[str]) -> str:
    return f"  set {name} {{\n    type {kind}\n    elements = {{ {', '.join(members)} }}\n  }}"


def _ranges(spec: ProcessSpec, offsets: Offsets) -> Iterator[tuple[int, int]]:
    for purpose, port in spec.ports.items():
        taken = (port + offset for offset in offsets.get((spec.role, purpose), (0,)))
        yield from ((each, each) for each in taken if each < 65536)
    low, high = spec.env.get("MC_MIN_RPC_PORT", ""), spec.env.get("MC_MAX_RPC_PORT", "")
    if low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65536:
        yield int(low), int(high)


def _ports(ranges: Iterable[tuple[int, int]]) -> str:
    """Returns ports as nftables writes them; overlapping ranges, which it refuses, become one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return "{ " + ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in merged) + " }"


def _version(address: str) -> int:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0


def _order(address: str) -> tuple[int, int, str]:
    version = _version(address)
    return version, int(ipaddress.ip_address(address)) if version else 0, address
