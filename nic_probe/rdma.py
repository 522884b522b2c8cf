"""The RDMA devices of the host and their ports, from `/sys/class/infiniband`.

What is listed here need not be usable: a container sees devices that it may not open, and an ACTIVE port
without an interface in this network namespace carries no RoCE. The GID table is read whole, since no index
is the same everywhere. Sources: the kernel's Documentation/ABI/stable/sysfs-class-infiniband. Called by
`host`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from .netdev import numa_node, pci_address
from .reading import Reading
from .sysfs import HostFiles

__all__ = ["Gid", "RdmaDevice", "RdmaPort", "probe_rdma"]

_FOLDER = "sys/class/infiniband"


@dataclass(frozen=True, slots=True)
class Gid:
    """One non-empty entry of a port's GID table.

    Attributes:
        address: the GID in IPv6 notation, or the IPv4 address that it maps.
        type: `IB/RoCE v1` or `RoCE v2`.
        netdev: the interface that the entry belongs to; unreadable when it is in another network namespace.
    """

    index: int
    address: str
    type: Reading[str]
    netdev: Reading[str]


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port.

    Attributes:
        state: ACTIVE, DOWN, INIT, ARMED and so on, without the kernel's number.
        physical_state: LinkUp, Polling, Disabled and so on, in the driver's words.
        rate_gbps: gigabits per second; a port that is down shows a placeholder.
        rate: the kernel's text, such as `400 Gb/sec (4X NDR)`.
        link_layer: InfiniBand, Ethernet or Unknown (as EFA has it).
    """

    number: int
    state: Reading[str]
    physical_state: Reading[str]
    rate_gbps: Reading[float]
    rate: Reading[str]
    link_layer: Reading[str]
    lid: Reading[int]
    gids: tuple[Gid, ...]

    @property
    def active(self) -> bool:
        """True when the port's logical state is ACTIVE."""
        return self.state.value == "ACTIVE"


@dataclass(frozen=True, slots=True)
class RdmaDevice:
    """One RDMA device, most often one port of a NIC.

    Attributes:
        node_type: CA, Switch, RNIC, usNIC and so on.
        netdevs: the interfaces of the same device in this network namespace.
    """

    name: str
    node_type: Reading[str]
    board: Reading[str]
    firmware: Reading[str]
    driver: Reading[str]
    pci: Reading[str]
    numa_node: Reading[int]
    netdevs: Reading[tuple[str, ...]]
    ports: tuple[RdmaPort, ...]


def probe_rdma(files: HostFiles) -> Reading[tuple[RdmaDevice, ...]]:
    """Returns the RDMA devices in natural order.

    No directory at all is a kernel without RDMA modules: no devices. Only a directory that exists and
    cannot be listed is unreadable. A name that leads nowhere is left out, as the kernel's own tools do.
    """
    names = files.names(_FOLDER)
    if names.value is None:
        if not files.exists(_FOLDER):
            return Reading((), names.source)
        return Reading.unreadable(names.source, names.reason)
    return Reading(
        tuple(_device(files, name) for name in names.value if files.exists(f"{_FOLDER}/{name}")), names.source
    )


def _device(files: HostFiles, name: str) -> RdmaDevice:
    place = f"{_FOLDER}/{name}"
    netdevs = files.names(f"{place}/device/net")
    if not netdevs.known:
        # Software devices (rxe, siw) have no device of their own and name the interface that they run on.
        netdevs = files.text(f"{place}/parent").convert(lambda parent: (parent,), "an interface")
    numbers = [number for number in files.names(f"{place}/ports").otherwise(()) if number.isdecimal()]
    board = files.text(f"{place}/hca_type")
    return RdmaDevice(
        name=name,
        node_type=files.text(f"{place}/node_type").convert(_after_number, "a node type"),
        board=board if board.known else files.text(f"{place}/board_id"),
        firmware=files.text(f"{place}/fw_ver"),
        driver=files.link_name(f"{place}/device/driver"),
        pci=pci_address(files, place),
        numa_node=numa_node(files, place),
        netdevs=netdevs,
        ports=tuple(_port(files, f"{place}/ports/{number}", int(number)) for number in numbers),
    )


def _port(files: HostFiles, place: str, number: int) -> RdmaPort:
    rate = files.text(f"{place}/rate")
    return RdmaPort(
        number=number,
        state=files.text(f"{place}/state").convert(_after_number, "a port state"),
        physical_state=files.text(f"{place}/phys_state").convert(_after_number, "a physical state"),
        rate_gbps=rate.convert(_gbps, "a rate in Gb/sec"),
        rate=rate,
        link_layer=files.text(f"{place}/link_layer"),
        lid=files.integer(f"{place}/lid"),
        gids=_gids(files, place),
    )


def _gids(files: HostFiles, place: str) -> tuple[Gid, ...]:
    found: list[Gid] = []
    for index in files.names(f"{place}/gids").otherwise(()):
        raw = files.text(f"{place}/gids/{index}")
        if raw.value is None or not index.isdecimal():
            continue
        try:
            address = ipaddress.IPv6Address(raw.value)
        except ValueError:
            continue
        if int(address) & (1 << 64) - 1 == 0:
            continue  # All zeros, or on InfiniBand the subnet prefix alone: an unused entry.
        found.append(
            Gid(
                index=int(index),
                address=str(address.ipv4_mapped or address),
                type=files.text(f"{place}/gid_attrs/types/{index}"),
                netdev=files.text(f"{place}/gid_attrs/ndevs/{index}"),
            )
        )
    return tuple(found)


def _after_number(text: str) -> str | None:
    """`4: ACTIVE` gives `ACTIVE`."""
    return text.partition(":")[2].strip() or None


def _gbps(text: str) -> float | None:
    match = re.match(r"(\d+(?:\.\d+)?) Gb/sec", text)
    return float(match[1]) if match else None
