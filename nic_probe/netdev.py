"""The network interfaces of the host, from `/sys/class/net`, with what `/proc/net` and the facts add.

Knows nothing of RDMA. Called by `host`; RDMA devices name their interfaces by the names found here, and find
their own place in the PCI tree with `pci_address`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from .patience import answers_within
from .reading import Reading
from .sources.files import HostFiles

__all__ = ["Netdev", "numa_node", "pci_address", "pci_path", "probe_netdevs"]

_FOLDER = "sys/class/net"
# What hangs an interface hangs its RDMA device too: both together stay below the 2 s that a probe may take.
_LIMIT_S = 0.6
# ARPHRD_LOOPBACK of linux/if_arp.h.
_LOOPBACK = 772
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]")
# RTF_UP and RTF_REJECT of linux/route.h: an unreachable default is none.
_ROUTE_UP = 0x1
_ROUTE_REJECT = 0x200
_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_UNASKED: Reading[Any] = Reading.unreadable("", "was not asked")


@dataclass(frozen=True, slots=True)
class Netdev:
    """One interface.

    Attributes:
        speed_mbps: megabits per second; many virtual interfaces have none.
        operstate: up, down, unknown (as `lo` has it) and so on, in the kernel's words.
        addresses: IP addresses without prefix lengths or zones.
        pci: the address of its PCI device, such as 0000:82:00.0; virtual interfaces have none.
        numa_node: the node of its PCI device; unreadable when the platform does not say.
        loopback: True for the interface that reaches this host alone.
        carrier: True with a link; the kernel says nothing of an interface that is not up.
        master: the bond, bridge or VRF that it belongs to; unreadable without one.
        is_bond: True when it is a bond of other interfaces.
        default_route: True when a default route, IPv4 or IPv6, leaves through it.
        dev_port: its place among the interfaces of one PCI function, from 0.
        dev_id: the same on kernels that have no dev_port yet.
        networks: the network of each address, in the same order, such as 10.0.0.0/24.
    """

    name: str
    mac: Reading[str]
    mtu: Reading[int]
    speed_mbps: Reading[int]
    operstate: Reading[str]
    addresses: Reading[tuple[str, ...]]
    driver: Reading[str]
    pci: Reading[str]
    numa_node: Reading[int]
    loopback: bool
    carrier: Reading[bool] = _UNASKED
    master: Reading[str] = _UNASKED
    is_bond: bool = False
    default_route: Reading[bool] = _UNASKED
    dev_port: Reading[int] = _UNASKED
    dev_id: Reading[int] = _UNASKED
    networks: Reading[tuple[str, ...]] = _UNASKED


def probe_netdevs(files: HostFiles) -> tuple[Netdev, ...]:
    """Returns the interfaces in natural order.

    Raises nothing. On a live host, an interface whose driver does not answer in time has nothing but its name.
    """
    # bonding_masters and its like are plain files between the interfaces.
    names = [name for name in files.names(_FOLDER).otherwise(()) if not files.is_plain(f"{_FOLDER}/{name}")]
    addresses = _addresses(files)
    routes = _default_routes(files)
    bonds = frozenset(files.names("proc/net/bonding").otherwise(()))
    read: list[Callable[[], Netdev]] = [
        partial(_netdev, files, name, addresses, routes, name in bonds) for name in names
    ]
    if not files.live:
        return tuple(task() for task in read)
    answers = answers_within(_LIMIT_S, read, stall_s=_LIMIT_S / 6)
    return tuple(_silent(name) if found is None else found for name, found in zip(names, answers, strict=True))


def _netdev(
    files: HostFiles,
    name: str,
    addresses: Reading[Mapping[str, Any]],
    routes: Reading[frozenset[str]],
    bonds_others: bool,
) -> Netdev:
    place = f"{_FOLDER}/{name}"
    given = _addresses_of(addresses, name)
    return Netdev(
        name=name,
        mac=files.text(f"{place}/address"),
        mtu=files.integer(f"{place}/mtu"),
        # -1 is how the kernel says that it does not know.
        speed_mbps=files.integer(f"{place}/speed").convert(lambda speed: speed if speed > 0 else None, "a speed"),
        operstate=files.text(f"{place}/operstate"),
        addresses=given.convert(lambda found: tuple(str(one.ip) for one in found), "addresses"),
        driver=files.link_name(f"{place}/device/driver"),
        pci=pci_address(files, place),
        numa_node=numa_node(files, place),
        loopback=files.integer(f"{place}/type").value == _LOOPBACK,
        carrier=files.integer(f"{place}/carrier").convert({0: False, 1: True}.get, "0 or 1"),
        master=files.link_name(f"{place}/master"),
        is_bond=bonds_others or files.exists(f"{place}/bonding"),
        default_route=routes.convert(lambda through: name in through, "a table of routes"),
        dev_port=files.integer(f"{place}/dev_port"),
        dev_id=files.integer(f"{place}/dev_id"),
        networks=given.convert(lambda found: tuple(str(one.network) for one in found), "addresses"),
    )


def _silent(name: str) -> Netdev:
    hung: Reading[Any] = Reading.unreadable(f"/{_FOLDER}/{name}", f"did not answer within {_LIMIT_S} s")
    return Netdev(
        name=name,
        mac=hung,
        mtu=hung,
        speed_mbps=hung,
        operstate=hung,
        addresses=hung,
        driver=hung,
        pci=hung,
        numa_node=hung,
        loopback=False,
        carrier=hung,
        master=hung,
        default_route=hung,
        dev_port=hung,
        dev_id=hung,
        networks=hung,
    )


def _addresses(files: HostFiles) -> Reading[Mapping[str, Any]]:
    table = files.facts().get("addresses")
    if isinstance(table, Mapping):
        return Reading(table, "facts")
    return Reading.unreadable("facts", "were not collected" if files.live else "are not in the capture")


def _addresses_of(table: Reading[Mapping[str, Any]], name: str) -> Reading[tuple[_Interface, ...]]:
    """Returns the addresses with their networks; what is no address is left out."""
    if table.value is None:
        return Reading.unreadable(table.source, table.reason)
    texts = table.value.get(name, ())
    if not isinstance(texts, list | tuple):
        return Reading.unreadable(table.source, f"hold no list of addresses of {name}")
    found: list[_Interface] = []
    for text in texts:
        try:
            # The zone of a link-local address only repeats the interface.
            found.append(ipaddress.ip_interface(re.sub(r"%[^/]*", "", text)))
        except (TypeError, ValueError):
            continue
    return Reading(tuple(found), table.source)


def _default_routes(files: HostFiles) -> Reading[frozenset[str]]:
    """Returns the interfaces through which a default route leaves.

    One of the two files is enough: a host without IPv6 lacks the second.
    """
    four = files.text("proc/net/route", may_be_empty=True)
    six = files.text("proc/net/ipv6_route", may_be_empty=True)
    if four.value is None and six.value is None:
        return Reading.unreadable(four.source, four.reason)
    through = {name for name in map(_route_4, (four.value or "").splitlines()) if name}
    through |= {name for name in map(_route_6, (six.value or "").splitlines()) if name}
    return Reading(frozenset(through), four.source if four.known else six.source)


def _route_4(line: str) -> str | None:
    # Iface Destination Gateway Flags RefCnt Use Metric Mask ...
    columns = line.split()
    if len(columns) < 8 or columns[1] != "00000000" or columns[7] != "00000000":
        return None
    return columns[0] if _carries(columns[3]) else None


def _route_6(line: str) -> str | None:
    # destination, its prefix length, source, its prefix length, next hop, metric, references, use, flags, interface
    columns = line.split()
    if len(columns) < 10 or columns[0].strip("0") or columns[1] != "00":
        return None
    return columns[9] if _carries(columns[8]) else None


def _carries(flags: str) -> bool:
    try:
        value = int(flags, 16)
    except ValueError:
        return False
    return bool(value & _ROUTE_UP) and not value & _ROUTE_REJECT


def pci_path(files: HostFiles, place: str) -> Reading[str]:
    """Returns the path of the PCI function behind `place`, a folder of /sys/class, relative to the root.

    It is the nearest one upwards: an auxiliary or virtio device sits below its PCI function.
    """
    target = files.target(f"{place}/device")
    if not target.known:
        # A capture may lack the link and still have the device in its place in the tree.
        beside = files.target(place).convert(_nearest_pci, "below a PCI device")
        return beside if beside.known else Reading.unreadable(target.source, target.reason)
    return target.convert(_nearest_pci, "below a PCI device")


def pci_address(files: HostFiles, place: str) -> Reading[str]:
    """Returns the PCI address of the device behind `place`, a folder of /sys/class."""
    path = pci_path(files, place)
    if path.known:
        return path.convert(lambda found: found.rpartition("/")[2], "a path")
    # In a capture the link may lead nowhere; where it points to still says which device it is.
    named = files.link_name(f"{place}/device").convert(lambda name: name if _PCI.fullmatch(name) else None, "PCI")
    return named if named.known else Reading.unreadable(path.source, path.reason)


def numa_node(files: HostFiles, place: str) -> Reading[int]:
    """Returns the NUMA node of the device behind `place`; in the file -1 means that nobody knows."""
    node = files.integer(f"{place}/device/numa_node")
    if not node.known:
        path = pci_path(files, place)
        node = node if path.value is None else files.integer(f"{path.value}/numa_node")
    return node.convert(lambda number: number if number >= 0 else None, "a node")


def _nearest_pci(path: str) -> str | None:
    parts = path.split("/")
    for end in range(len(parts), 0, -1):
        if _PCI.fullmatch(parts[end - 1]):
            return "/".join(parts[:end])
    return None
