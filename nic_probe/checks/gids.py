"""Checks of the GIDs by which RoCE and InfiniBand ports are addressed.

Ports whose link layer is Unknown (EFA) have one GID and no choice, and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable

from ..finding import Evidence, Finding, Severity
from ..nics.device import Gid, RdmaDevice, RdmaPort
from ..nics.gids import LAST_RESORT, best_gid
from .check import Check, Rule
from .evidence import DOCKER_FLAGS, listed, variable
from .view import HostView

__all__ = ["CHECKS"]

_DEGRADED = (3, 5)  # Mooncake's ranks of an overlay's address and of fe80.
_WITHOUT_NETDEV = (1, 4, 5)
_MAX_INDEX = 255

_NONE = Rule(
    "gid-none-usable",
    "Whether each ACTIVE port has a GID",
    "A GID is the address of an RDMA port. In a container with an interface of its own (Calico, veth) every GID of a "
    "RoCE port reads zeros although the port is ACTIVE. Mooncake refuses such a device (GID is NULL), and every "
    "transfer through it fails.",
    ("projectcalico/calico#8482", "Mellanox/k8s-rdma-sriov-dev-plugin#30", "kvcache-ai/Mooncake#1026"),
)
_INDEX = Rule(
    "gid-index-null",
    "The GID index that MC_GID_INDEX or NCCL_IB_GID_INDEX names, on every NIC for KV",
    "A fixed index is used on all NICs alike. Where the entry is empty Mooncake refuses the device (GID is NULL); "
    "where it is another kind of address, every transfer fails and answers turn into nonsense or nothing.",
    ("kvcache-ai/Mooncake#1143", "sgl-project/sglang#30737", "NVIDIA/nccl#1573"),
)
_UNCOMMON = Rule(
    "gid-index-uncommon",
    "Whether one GID index is good on all NICs for KV",
    "Tools that take one fixed index for all NICs need one that is a RoCE v2 address of the same kind everywhere. "
    "Mooncake chooses for each NIC by itself as long as no index is set.",
    ("NVIDIA/nccl#1573", "NVIDIA/nccl#1587", "k8snetworkplumbingwg/multus-cni#1100"),
)
_V1_ONLY = Rule(
    "gid-roce-v1-only",
    "Whether each RoCE port has a RoCE v2 GID",
    "RoCE v1 is not routed and does not connect to RoCE v2. Mooncake takes a RoCE v1 entry only as its last resort.",
    ("kvcache-ai/Mooncake#1597", "openucx/ucx#11165"),
)
_DEGRADED_ONLY = Rule(
    "gid-degraded-only",
    "Whether each RoCE port has a GID beyond link-local and overlay addresses",
    "A link-local GID (fe80) reaches only hosts in the same layer 2 network, and an overlay's address (docker, cni, "
    "flannel) does not leave the host by the NIC. Mooncake ranks both last, and uses them when there is nothing else.",
    ("kvcache-ai/Mooncake#2269", "kvcache-ai/Mooncake#1026"),
)
_NO_NETDEV = Rule(
    "gid-without-netdev",
    "Whether the interface of each RoCE GID is in this network namespace",
    "A RoCE GID belongs to a network interface. When that interface is in another network namespace, the kernel "
    "refuses connections by it: the queue pair fails in the move to RTR with EINVAL.",
    ("kvcache-ai/Mooncake#2269", "Mellanox/k8s-rdma-shared-dev-plugin"),
)

_Port = tuple[RdmaDevice, RdmaPort]
_Applies = Callable[[Gid], bool]


def gid_none_usable(view: HostView) -> list[Finding]:
    """Finds ACTIVE ports whose table was read and holds nothing to use."""
    active = [(nic, port) for nic in view.active_nics for port in nic.ports if port.active]
    judged = [(nic, port) for nic, port in active if _addressed(port) and port.gid_table_length.otherwise(0) > 0]
    empty = [(nic, port) for nic, port in judged if best_gid(port) is None]
    if not empty:
        return []
    every = len(empty) == len(judged)
    return [
        _NONE.finding(
            Severity.ERROR if every else Severity.WARNING,
            listed(nic.name for nic, _ in empty),
            [Evidence(_table(nic, port), f"{port.gid_table_length} entries, {_why_none(port)}") for nic, port in empty],
            f"{'No ACTIVE NIC' if every else 'Not every ACTIVE NIC'} has a usable GID, so Mooncake refuses "
            f"{'all of them' if every else listed(nic.name for nic, _ in empty)} "
            "(projectcalico/calico#8482, kvcache-ai/Mooncake#1026).",
            "docker run --network host ..., or give the pod an interface of the NIC (macvlan, SR-IOV)."
            if view.in_container
            else "Set the NIC's interface up with an IP address: ip link set IFACE up; ip addr add ADDRESS dev IFACE",
        )
    ]


def gid_index_null(view: HostView) -> list[Finding]:
    """Judges the index that the environment names."""
    name = next((name for name in ("MC_GID_INDEX", "NCCL_IB_GID_INDEX") if view.environ.get(name, "").strip()), "")
    if not name:
        return []
    text = view.environ[name].strip()
    if name.startswith("NCCL") and text == "-1":
        return []
    common = _common(view)
    corrected = None if common is None else str(common)
    remedy = f"export {name}={common}" if common is not None else f"unset {name}: Mooncake then chooses for each NIC."
    if not (text.isascii() and text.isdecimal() and len(text) < 4 and int(text) <= _MAX_INDEX):
        return [
            _INDEX.finding(
                Severity.WARNING,
                name,
                [variable(name, text)],
                f"{name} = {text!r} is no index from 0 to {_MAX_INDEX}, and Mooncake ignores it.",
                remedy,
                corrected,
            )
        ]
    index = int(text)
    # The table of a port in a capture without GIDs says nothing.
    judged = [(nic, port) for nic, port in _ports(view) if port.gids]
    null = [(nic, port) for nic, port in judged if _at(port, index) is None]
    poor = [(nic, port) for nic, port in judged if (gid := _at(port, index)) is not None and _is_v1(gid, port)]
    if null:
        return [
            _INDEX.finding(
                Severity.ERROR,
                listed(nic.name for nic, _ in null),
                [variable(name, text), *(Evidence(f"{_table(nic, port)}/{index}", "is empty") for nic, port in null)],
                f"GID {index} is empty on {listed(nic.name for nic, _ in null)}, so Mooncake refuses the device: GID "
                "is NULL (kvcache-ai/Mooncake#1143, sgl-project/sglang#30737).",
                remedy,
                corrected,
            )
        ]
    if poor and common is not None and common != index:
        return [
            _INDEX.finding(
                Severity.WARNING,
                listed(nic.name for nic, _ in poor),
                [
                    variable(name, text),
                    *(Evidence(f"{_table(nic, port)}/{index}", "IB/RoCE v1") for nic, port in poor),
                ],
                f"GID {index} is of RoCE v1, which is not routed and does not connect to RoCE v2 "
                "(kvcache-ai/Mooncake#1597).",
                remedy,
                corrected,
            )
        ]
    return []


def gid_index_uncommon(view: HostView) -> list[Finding]:
    """Reports NICs among which no single index would do."""
    ports = [(nic, port) for nic, port in _ports(view) if best_gid(port) is not None]
    if len(ports) < 2 or _common(view) is not None or "MC_GID_INDEX" in view.environ:
        return []
    best = {nic.name: gid for nic, port in ports if (gid := best_gid(port)) is not None}
    return [
        _UNCOMMON.finding(
            Severity.INFO,
            "GID index",
            [Evidence(name, f"index {gid.index}: {gid.address}") for name, gid in best.items()],
            "No single GID index is good on all NICs for KV (NVIDIA/nccl#1573).",
            "Leave MC_GID_INDEX and NCCL_IB_GID_INDEX unset, so that each NIC gets its own.",
        )
    ]


def gid_roce_v1_only(view: HostView) -> list[Finding]:
    """Finds RoCE ports that Mooncake can address by its last resort alone."""
    return _by_best(
        view,
        _V1_ONLY,
        lambda gid: gid.rank == LAST_RESORT and gid.type.known,
        "has GIDs of RoCE v1 alone, which are not routed and do not connect to RoCE v2 (kvcache-ai/Mooncake#1597).",
        "Set the port to RoCE v2: cma_roce_mode -d NIC -p 1 -m 2, and give its interface an IP address.",
    )


def gid_degraded_only(view: HostView) -> list[Finding]:
    """Finds RoCE ports whose best GID is a link-local or an overlay's address."""
    return _by_best(
        view,
        _DEGRADED_ONLY,
        lambda gid: gid.rank in _DEGRADED,
        "has link-local or overlay addresses alone, by which other networks cannot reach it "
        "(kvcache-ai/Mooncake#2269).",
        "Give the interface of the NIC an IP address: ip addr add 192.168.100.1/24 dev IFACE",
    )


def gid_without_netdev(view: HostView) -> list[Finding]:
    """Finds RoCE ports whose best GID belongs to an interface that is not here."""
    # A capture may hold the GIDs and not their attributes: then every one of them lacks its interface.
    shown = any(gid.netdev.known for nic in view.nics for port in nic.ports for gid in port.gids)
    if not (shown or view.host.live):
        return []
    return _by_best(
        view,
        _NO_NETDEV,
        lambda gid: gid.rank in _WITHOUT_NETDEV,
        "has no GID whose interface is in this network namespace, so queue pairs may fail in the move to RTR "
        "(kvcache-ai/Mooncake#2269).",
        DOCKER_FLAGS if view.in_container else "Run the workers in the network namespace of the NIC's interface.",
    )


def _by_best(view: HostView, rule: Rule, applies: _Applies, reason: str, remedy: str) -> list[Finding]:
    ports = [
        (nic, gid)
        for nic, port in _ports(view)
        if port.link_layer.value == "Ethernet" and (gid := best_gid(port)) is not None and applies(gid)
    ]
    if not ports:
        return []
    names = listed(nic.name for nic, _ in ports)
    evidence = [
        Evidence(nic.name, f"index {gid.index}: {gid.address}, {gid.type}, interface {gid.netdev}")
        for nic, gid in ports
    ]
    return [rule.finding(Severity.WARNING, names, evidence, f"{names} {reason}", remedy)]


def _ports(view: HostView) -> list[_Port]:
    return [(nic, port) for nic, port in view.chosen_ports if _addressed(port)]


def _addressed(port: RdmaPort) -> bool:
    return port.link_layer.value in ("Ethernet", "InfiniBand")


def _common(view: HostView) -> int | None:
    """Returns the index that is among the best on every NIC for KV; the one that most prefer, then the lowest."""
    ports = [port for _, port in _ports(view) if best_gid(port) is not None]
    if not ports:
        return None
    shared = set.intersection(*(_as_good_as_best(port) for port in ports))
    first = [gid.index for port in ports if (gid := best_gid(port)) is not None]
    return max(shared, key=lambda index: (first.count(index), -index), default=None)


def _as_good_as_best(port: RdmaPort) -> set[int]:
    best = best_gid(port)
    return {gid.index for gid in port.gids if best is not None and gid.rank == best.rank}


def _at(port: RdmaPort, index: int) -> Gid | None:
    return next((gid for gid in port.gids if gid.index == index), None)


def _is_v1(gid: Gid, port: RdmaPort) -> bool:
    return port.link_layer.value == "Ethernet" and gid.type.known and "v1" in gid.type.otherwise("")


def _why_none(port: RdmaPort) -> str:
    return "none for Mooncake" if port.gids else "all empty"


def _table(nic: RdmaDevice, port: RdmaPort) -> str:
    return f"/sys/class/infiniband/{nic.name}/ports/{port.number}/gids"


CHECKS: tuple[Check[HostView], ...] = (
    Check(_NONE, gid_none_usable),
    Check(_INDEX, gid_index_null),
    Check(_UNCOMMON, gid_index_uncommon),
    Check(_V1_ONLY, gid_roce_v1_only),
    Check(_DEGRADED_ONLY, gid_degraded_only),
    Check(_NO_NETDEV, gid_without_netdev),
)
