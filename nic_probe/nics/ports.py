"""Reads the ports of one RDMA device, from its folder `ports`.

A port is read in two steps: the GID tables of all ports tell which bond carries the device, and only then it is
known which interfaces belong to which port. Called by `sysfs`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..netdev import Netdev
from ..reading import Reading
from ..sources.files import HostFiles
from .counter_files import port_counters
from .device import Gid, RdmaPort
from .gids import read_gids
from .port_netdevs import netdevs_of_port, roce_mtu_of
from .usable import judged_port

__all__ = ["Beside", "GidTable", "after_number", "read_port", "read_tables"]

_GBPS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) Gb/sec")
_PKEY_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class GidTable:
    """The GIDs of one port.

    Attributes:
        place: the port's folder.
        number: of the port, from 1.
        netdevs: the interfaces that the GIDs name.
    """

    place: str
    number: int
    link_layer: Reading[str]
    gids: tuple[Gid, ...]
    length: Reading[int]
    netdevs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """What the reader of a port has to know of its device and host.

    Attributes:
        own: the interfaces on the same hardware, whatever their port.
        bond: the bond that carries the device, if any.
        virtual: True for a virtual function.
        netdevs: every interface of the host by name.
    """

    node_type: str | None
    own: tuple[str, ...]
    bond: str | None
    virtual: bool
    netdevs: Mapping[str, Netdev]


def read_tables(files: HostFiles, device: str) -> list[GidTable]:
    """Returns the GID table of each port of the device whose folder is `device`."""
    tables: list[GidTable] = []
    for entry in files.names(f"{device}/ports").otherwise(()):
        if not (entry.isascii() and entry.isdecimal() and len(entry) < 4):
            continue
        place = f"{device}/ports/{entry}"
        link_layer = files.text(f"{place}/link_layer")
        gids, length = read_gids(files, place, link_layer.value)
        named = tuple(dict.fromkeys(gid.netdev.value for gid in gids if gid.netdev.value is not None))
        tables.append(GidTable(place, int(entry), link_layer, gids, length, named))
    return tables


def read_port(files: HostFiles, device: str, table: GidTable, ports: int, beside: Beside) -> RdmaPort:
    """Returns the port with its counters of this moment, and judged.

    Args:
        device: the RDMA device's name.
        ports: how many ports it has.
    """
    place = table.place
    names = netdevs_of_port(table.number, ports, beside.own, table.netdevs, beside.bond, beside.netdevs)
    rate = files.text(f"{place}/rate")
    port = RdmaPort(
        number=table.number,
        state=files.text(f"{place}/state").convert(after_number, "a port state"),
        physical_state=files.text(f"{place}/phys_state").convert(after_number, "a physical state"),
        rate_gbps=rate.convert(_gbps, "a rate in Gb/sec"),
        rate=rate,
        link_layer=table.link_layer,
        lid=files.integer(f"{place}/lid"),
        sm_lid=files.integer(f"{place}/sm_lid"),
        mtu=roce_mtu_of(table.link_layer.value, beside.node_type, names, beside.netdevs),
        pkeys=_pkeys(files, place),
        gid_table_length=table.length,
        gids=table.gids,
        netdevs=names,
        counters=port_counters(files, device, table.number, names),
    )
    return judged_port(port, beside.node_type, virtual=beside.virtual)


def after_number(text: str) -> str | None:
    """Returns what stands behind the kernel's number: `4: ACTIVE` gives `ACTIVE`."""
    return text.partition(":")[2].strip() or None


def _pkeys(files: HostFiles, place: str) -> tuple[int, ...]:
    # Unused entries are 0x0000, and most of a table.
    texts = (text.value for text in files.texts(f"{place}/pkeys").values())
    keys = (_key(text) for text in texts if text is not None and text != "0x0000")
    return tuple(key for key in keys if 0 < key <= _PKEY_MAX)


def _key(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _gbps(text: str) -> float | None:
    match = _GBPS.match(text)
    return float(match[1]) if match else None
