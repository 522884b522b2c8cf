"""Which NICs are for KV: storage and management NICs may sit as close to a GPU as those that are.

Pure. A hard sign (unusable, a switch's management function, far slower than the rest) makes a NIC unfit; of the
soft ones it takes two, or Ethernet beside InfiniBand, and they never leave a host without a fit NIC. What is
doubtful stays and says why. The soft signs are rules of thumb; none of them is a fact about the NIC's cabling.
Called by `survey`.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ..netdev import Netdev
from ..nics.device import RdmaDevice, RdmaPort
from .paths import GpuNicPath, PathClass
from .pci import PciTree

__all__ = ["NicFitness", "judge_fitness"]

_FULL_MEMBER = 0x8000
_SOFTWARE = ("rdma_rxe", "siw")
_AMAZON = 0x1D0F
# Elastic Fabric Adapters among Amazon's functions; its plain network interfaces have other numbers.
_EFA = range(0xEFA0, 0xEFB0)


@dataclass(frozen=True, slots=True)
class NicFitness:
    """Whether a NIC is one for KV.

    Attributes:
        fit: False when it must not be preferred; a doubtful NIC stays fit.
        signs: what speaks against it, one short sentence each; empty for a plain NIC.
    """

    nic: str
    fit: bool
    signs: tuple[str, ...]


def judge_fitness(
    nics: Sequence[RdmaDevice],
    paths: Sequence[GpuNicPath],
    netdevs: Sequence[Netdev],
    tree: PciTree,
) -> tuple[NicFitness, ...]:
    """Returns a judgement for each NIC, in the order of `nics`.

    Args:
        nics: all RDMA devices of the host.
        paths: from every GPU to every NIC.
        netdevs: the interfaces of the host.
        tree: where the NICs' PCI identities are.
    """
    hard = {nic.name: _excluded(nic) for nic in nics}
    left = [nic for nic in nics if not hard[nic.name]]
    hard |= _in_software(left)
    left = [nic for nic in left if not hard[nic.name]]
    hard |= _far_slower(left)
    left = [nic for nic in left if not hard[nic.name]]
    soft = _soft_signs(left, paths, {netdev.name: netdev for netdev in netdevs})
    unfit = {name for name, signs in soft.items() if len(signs) > 1} | _beside_infiniband(left, paths)
    if len(unfit) == len(left):
        unfit = set()
    return tuple(
        NicFitness(
            nic=nic.name,
            fit=not hard[nic.name] and nic.name not in unfit,
            signs=(*hard[nic.name], *soft.get(nic.name, ()), *_remarks(nic, nics, tree)),
        )
        for nic in nics
    )


def _excluded(nic: RdmaDevice) -> list[str]:
    signs: list[str] = []
    if nic.usable is False:
        signs.append(nic.why_not or "It is not usable.")
    elif nic.ports and all(port.state.known and not port.active for port in nic.ports):
        signs.append("It has no ACTIVE port.")
    if nic.management.value or nic.node_type.value == "Switch":
        signs.append("It is the management function of a switch and carries no KV.")
    keys = [key for port in nic.ports for key in port.pkeys if _layer(port) != "Ethernet"]
    if keys and not any(key & _FULL_MEMBER for key in keys):
        signs.append(f"It is a limited member of its partitions (pkey {keys[0]:#06x}), as management ports are.")
    return signs


def _rate(nic: RdmaDevice) -> float | None:
    """Returns the rate of the fastest port in Gb/s; a port that is down shows a placeholder and does not count."""
    rates = [port.rate_gbps.value for port in nic.ports if port.active or not port.state.known]
    return max((rate for rate in rates if rate), default=None)


def _in_software(nics: Sequence[RdmaDevice]) -> dict[str, list[str]]:
    real = next((nic.name for nic in nics if nic.driver.known and nic.driver.value not in _SOFTWARE), "")
    return {
        nic.name: [f"It is RDMA in software ({nic.driver.value}), while {real} is hardware."]
        for nic in nics
        if real and nic.driver.value in _SOFTWARE
    }


def _far_slower(nics: Sequence[RdmaDevice]) -> dict[str, list[str]]:
    """Names NICs at half of another's rate or less.

    Unless they carry more together than those that are faster: one fast uplink beside a NIC for each GPU does
    not make the many unfit.
    """
    rates = {nic.name: rate for nic in nics if (rate := _rate(nic)) is not None}
    signs: dict[str, list[str]] = {}
    for name, rate in rates.items():
        faster = {one: other for one, other in rates.items() if other >= 2 * rate}
        alike = sum(other for other in rates.values() if other == rate)
        if faster and sum(faster.values()) >= alike:
            best = max(faster, key=lambda one: rates[one])
            signs[name] = [f"It runs at {rate:g} Gb/s, while {best} runs at {rates[best]:g}."]
    return signs


def _soft_signs(
    nics: Sequence[RdmaDevice], paths: Sequence[GpuNicPath], netdevs: Mapping[str, Netdev]
) -> dict[str, list[str]]:
    signs: dict[str, list[str]] = {nic.name: [] for nic in nics}
    for found in (
        _slower(nics),
        _far_away(nics, paths),
        _default_route(nics, netdevs),
        _other_link_layer(nics),
        _other_network(nics, netdevs),
    ):
        for name, sign in found.items():
            signs[name].append(sign)
    return signs


def _slower(nics: Sequence[RdmaDevice]) -> dict[str, str]:
    rates = {nic.name: rate for nic in nics if (rate := _rate(nic)) is not None}
    best = max(rates, key=lambda name: rates[name], default="")
    return {
        name: f"It runs at {rate:g} Gb/s, the fastest, {best}, at {rates[best]:g}."
        for name, rate in rates.items()
        if rate < rates[best]
    }


def _far_away(nics: Sequence[RdmaDevice], paths: Sequence[GpuNicPath]) -> dict[str, str]:
    nearest: dict[str, PathClass] = {}
    for path in paths:
        if path.nic not in nearest or path.level.rank < nearest[path.nic].rank:
            nearest[path.nic] = path.level
    judged = {nic.name: nearest[nic.name] for nic in nics if nic.name in nearest}
    best = min(judged, key=lambda name: judged[name].rank, default="")
    return {
        name: f"It is no nearer to any GPU than {level}, while {best} is {judged[best]} to one."
        for name, level in judged.items()
        if level.rank >= PathClass.NODE.rank and level.rank > judged[best].rank
    }


def _default_route(nics: Sequence[RdmaDevice], netdevs: Mapping[str, Netdev]) -> dict[str, str]:
    through = {name for name, netdev in netdevs.items() if netdev.default_route.value}
    # The route may leave by a VLAN of the interface, which is named after it.
    plain = {name.partition(".")[0]: name for name in sorted(through)}
    carriers: dict[str, str] = {}
    for nic in nics:
        carried = sorted(_interfaces(nic, netdevs) & (through | plain.keys()))
        if carried:
            carriers[nic.name] = f"It carries the default route ({plain.get(carried[0], carried[0])})."
    return {} if len(carriers) == len(nics) else carriers


def _other_link_layer(nics: Sequence[RdmaDevice]) -> dict[str, str]:
    layers = {nic.name: layer for nic in nics if (layer := _nic_layer(nic))}
    common, count = _most_common(layers.values())
    if 2 * count <= len(layers):
        return {}
    return {
        name: f"Its link layer is {layer}, that of most others {common}."
        for name, layer in layers.items()
        if layer != common
    }


def _beside_infiniband(nics: Sequence[RdmaDevice], paths: Sequence[GpuNicPath]) -> set[str]:
    """Returns the Ethernet NICs of a host whose other NICs are mostly InfiniBand and as near to every GPU.

    The two cannot reach each other, and the Ethernet ones of such a host are for storage and management. One that
    is the nearest to some GPU may be meant for it.
    """
    layers = {nic.name: _nic_layer(nic) for nic in nics}
    fabric = {name for name, layer in layers.items() if layer == "InfiniBand"}
    if 2 * len(fabric) <= sum(layer != "" for layer in layers.values()):
        return set()
    least: dict[str, int] = {}
    for path in paths:
        if path.nic in fabric:
            least[path.gpu] = min(path.level.rank, least.get(path.gpu, path.level.rank))
    nearer = {path.nic for path in paths if path.level.rank < least.get(path.gpu, 0)}
    return {name for name, layer in layers.items() if layer == "Ethernet"} - nearer


def _other_network(nics: Sequence[RdmaDevice], netdevs: Mapping[str, Netdev]) -> dict[str, str]:
    """Names NICs outside of the network that most NICs of their link layer share.

    Where every NIC has a network of its own, as rails often have, there is none to be outside of.
    """
    signs: dict[str, str] = {}
    for layer in {_nic_layer(nic) for nic in nics}:
        alike = [nic for nic in nics if _nic_layer(nic) == layer]
        networks = {nic.name: found for nic in alike if (found := _networks(nic, netdevs))}
        common, count = _most_common(network for found in networks.values() for network in sorted(found))
        if count < 2 or 2 * count <= len(networks):
            continue
        for name, found in networks.items():
            if common not in found:
                signs[name] = f"Its network is {min(found)}, that of most others {common}."
    return signs


def _networks(nic: RdmaDevice, netdevs: Mapping[str, Netdev]) -> set[str]:
    found: set[str] = set()
    for port in nic.ports:
        for gid in port.gids:
            # On InfiniBand the upper half of GID 0 is the prefix of the subnet, whatever IP is spoken above it.
            if gid.index == 0 and _layer(port) == "InfiniBand":
                found |= _network(f"{gid.address}/64")
    if found:
        return found
    for name in _interfaces(nic, netdevs) & netdevs.keys():
        for text in netdevs[name].networks.otherwise(()):
            found |= {network for network in _network(text) if not network.startswith("fe80:")}
    return found


def _network(text: str) -> set[str]:
    try:
        network = ipaddress.ip_interface(text).network
    except ValueError:
        return set()
    return {str(network)} if network.num_addresses > 1 else set()


def _interfaces(nic: RdmaDevice, netdevs: Mapping[str, Netdev]) -> set[str]:
    """Returns the interfaces of a NIC and the bonds and bridges that they belong to."""
    names = {*nic.netdevs.otherwise(()), nic.bond.otherwise("")}
    for port in nic.ports:
        names.update(port.netdevs)
        names.update(gid.netdev.otherwise("") for gid in port.gids)
    new = names
    while new:
        new = {netdevs[name].master.otherwise("") for name in new & netdevs.keys()} - names
        names |= new
    return names - {""}


def _nic_layer(nic: RdmaDevice) -> str:
    return next((_layer(port) for port in nic.ports if port.active or not port.state.known), "")


def _layer(port: RdmaPort) -> str:
    return port.link_layer.otherwise("")


def _most_common(values: Iterable[str]) -> tuple[str, int]:
    counted = Counter(values).most_common(1)
    return counted[0] if counted else ("", 0)


def _remarks(nic: RdmaDevice, nics: Sequence[RdmaDevice], tree: PciTree) -> list[str]:
    """What is worth knowing of a NIC and does not speak against it alone."""
    remarks = [doubt for port in nic.ports for doubt in port.doubts]
    if (owner := nic.physical_function.value) is not None:
        shared = (one.name for one in nics if one.name != nic.name and owner in (one.name, one.pci.value))
        remarks += (f"It shares the physical port with {name}." for name in islice(shared, 1))
    if _is_efa(nic, tree):
        remarks.append("Mooncake's RDMA transport does not run on EFA; use its efa transport.")
    return remarks


def _is_efa(nic: RdmaDevice, tree: PciTree) -> bool:
    if nic.driver.known:
        return nic.driver.value == "efa"
    place = tree.devices.get(nic.pci.value or "")
    if place is None:
        return False
    vendor, device = _code(place.vendor.value), _code(place.device.value)
    return vendor == _AMAZON and device in _EFA


def _code(text: str | None) -> int:
    try:
        return int(text or "", 16)
    except ValueError:
        return -1
