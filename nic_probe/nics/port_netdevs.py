"""Which interfaces belong to which port of an RDMA device, and what MTU that gives RoCE.

The same answer as ibdev2netdev gives, for bonds and software devices too. Pure: whoever reads the files hands in
what they say. Called by `sysfs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..netdev import Netdev
from ..reading import Reading

__all__ = ["ROCE_HEADER_BYTES", "netdevs_of_port", "roce_mtu", "roce_mtu_of"]

# GRH 40, UDP 8, BTH 12, XRC 4, AtomicETH 28 and ICRC 4: what the kernel's iboe_get_mtu takes off.
ROCE_HEADER_BYTES: Final = 96
_ROCE_MTUS: Final = (4096, 2048, 1024, 512, 256)


def netdevs_of_port(
    number: int,
    ports: int,
    own: Iterable[str],
    of_gids: Iterable[str],
    bond: str | None,
    netdevs: Mapping[str, Netdev],
) -> tuple[str, ...]:
    """Returns the interfaces of a port, the one that carries its addresses first.

    Args:
        number: of the port, from 1.
        ports: how many the device has.
        own: the interfaces on the same hardware, whatever their port.
        of_gids: the interfaces that the port's GIDs name.
        bond: the bond that carries the device, if any.
        netdevs: every interface by name.
    """
    named = tuple(dict.fromkeys(of_gids))
    members = tuple(name for name in own if ports == 1 or _is_of_port(netdevs.get(name), number) or name in named)
    if bond is not None and (bond in named or any(_master(netdevs.get(name)) == bond for name in members)):
        return (bond,)
    # A pod on macvlan has no interface of the hardware, but one that the GIDs name.
    return members or named


def roce_mtu(interface_mtu: int) -> int | None:
    """Returns the path MTU of RoCE over an interface, in bytes: the largest that fits; None when none does.

    The rule is the kernel's (iboe_get_mtu), so 1500 gives 1024 and 4192 or more gives 4096.
    """
    room = interface_mtu - ROCE_HEADER_BYTES
    return next((mtu for mtu in _ROCE_MTUS if mtu <= room), None)


def roce_mtu_of(
    link_layer: str | None, node_type: str | None, names: Iterable[str], netdevs: Mapping[str, Netdev]
) -> Reading[int]:
    """Returns the path MTU of a port as its interface implies it; sysfs has no active MTU."""
    if link_layer != "Ethernet" or node_type == "RNIC":
        what = (
            "iWARP has no path MTU" if node_type == "RNIC" else "is told by verbs alone, and not derived without RoCE"
        )
        return Reading.unreadable("sysfs", what)
    for name in names:
        mtu = netdevs[name].mtu if name in netdevs else None
        if mtu is not None and mtu.known:
            fitting = mtu.convert(roce_mtu, f"large enough for RoCE: {ROCE_HEADER_BYTES} bytes are headers")
            return Reading(fitting.value, f"{fitting.source} less {ROCE_HEADER_BYTES} bytes of headers", fitting.reason)
    return Reading.unreadable("sysfs", "has no interface in this network namespace to derive it from")


def _is_of_port(netdev: Netdev | None, number: int) -> bool:
    if netdev is None:
        return False
    # Kernels before 3.15 count in dev_id; later ones leave it 0, or count in both.
    place = netdev.dev_port.value or netdev.dev_id.value
    if place is None:
        place = netdev.dev_port.value
    return place is not None and place + 1 == number


def _master(netdev: Netdev | None) -> str | None:
    return None if netdev is None else netdev.master.value
