"""The RDMA devices of the host and their ports, from `/sys/class/infiniband`.

What is listed here need not be usable: a container sees devices that it may not open, and an ACTIVE port
without an interface in this network namespace carries no RoCE. The GID table is read whole, since no index
is the same everywhere. Sources: the kernel's Documentation/ABI/stable/sysfs-class-infiniband. Called by
`host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from ..netdev import Netdev, numa_node, pci_address
from ..reading import Reading
from ..sources.files import HostFiles
from .device import Gid, PortCounters, RdmaDevice, RdmaPort

__all__ = ["probe_rdma"]

_FOLDER = "sys/class/infiniband"


def probe_rdma(
    files: HostFiles, netdevs: tuple[Netdev, ...], environ: Mapping[str, str]
) -> Reading[tuple[RdmaDevice, ...]]:
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
        node_guid=files.text(f"{place}/node_guid"),
        netdevs=netdevs,
        physical_function=Reading.unreadable("", "not read"),
        bond=Reading.unreadable("", "not read"),
        management=Reading.unreadable("", "not read"),
        verbs_node=Reading.unreadable("", "not read"),
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
        sm_lid=files.integer(f"{place}/sm_lid"),
        mtu=Reading.unreadable("", "not read"),
        pkeys=(),
        gid_table_length=Reading.unreadable("", "not read"),
        gids=_gids(files, place),
        netdevs=(),
        counters=PortCounters(Reading.unreadable("", "not read"), Reading.unreadable("", "not read"), "", {}),
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
