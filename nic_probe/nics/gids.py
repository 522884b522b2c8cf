"""The GID table of a port: what is in it, and which entry Mooncake takes by itself.

The table is read whole, since no index is the same everywhere: containers have sparse tables that begin
anywhere. The ranking is Mooncake's own (`rdma_gid_probe.h`), as a pure function. Called by `sysfs`, and by
whoever has to name a GID index.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ..reading import Reading
from ..sources.files import HostFiles
from .device import Gid, RdmaPort

__all__ = ["LAST_RESORT", "best_gid", "is_empty_gid", "rank_gid", "ranked", "read_gids"]

LAST_RESORT: Final = 6
"""Mooncake's rank of the first GID that it does not rank otherwise."""

# 192.168.0.0/16 is missing in Mooncake's test too: it ranks as routable.
_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10")))
_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")
_OVERLAYS: Final = ("flannel", "cni", "calico", "vxlan", "docker")
_INTERFACE_ID: Final = (1 << 64) - 1
_FE80: Final = 0xFE80 << 112
_KERNEL_FORM: Final = re.compile(r"(?:[0-9a-f]{4}:){7}[0-9a-f]{4}")
# Most of a table, told by its text: parsing every entry of 16 NICs would take as long as all the rest.
_EMPTY_TEXTS: Final = frozenset((":".join(["0000"] * 8), ":".join(["fe80"] + ["0000"] * 7)))


def rank_gid(address: str, gid_type: str | None, netdev: str | None, link_layer: str | None) -> int | None:
    """Returns Mooncake's automatic rank of a non-empty GID, 0 the best to 5; None for one that it does not rank.

    ==== ==========================================
    rank GID
    ==== ==========================================
    0    routable, with an interface
    1    routable, without
    2    private IPv4, with an interface
    3    degraded, with an interface
    4    private IPv4, without
    5    degraded, without
    ==== ==========================================

    Private is 10/8, 172.16/12 and 100.64/10. Degraded is an fe80 address, and any address of an overlay's
    interface, private ones too. Both exist on RoCE v2 alone: a GID of InfiniBand is routable whatever it reads.
    RoCE v1 is not ranked; the first such entry is the last resort (6). The lowest rank wins, then the lowest
    index.

    Args:
        address: in IPv6 notation, or the IPv4 address that the GID maps.
        gid_type: `RoCE v2` or `IB/RoCE v1`, None when it could not be read; means nothing but on Ethernet.
        netdev: the interface of the entry; None when there is none in this network namespace.
        link_layer: InfiniBand, Ethernet or Unknown; None when it could not be read.
    """
    is_v2 = gid_type is not None and gid_type.casefold() == "roce v2"
    if is_v2 and link_layer != "InfiniBand":
        place = ipaddress.ip_address(address)
        if _is_overlay(netdev) or (place.version == 6 and place in _LINK_LOCAL):
            return 5 if netdev is None else 3
        if place.version == 4 and any(place in network for network in _PRIVATE):
            return 4 if netdev is None else 2
    elif link_layer not in ("InfiniBand", "Unknown"):
        return None
    return 1 if netdev is None else 0


def best_gid(port: RdmaPort) -> Gid | None:
    """Returns the GID that Mooncake takes without being told one; None when it takes none."""
    taken = [gid for gid in port.gids if gid.rank is not None]
    return min(taken, key=lambda gid: (gid.rank, gid.index), default=None)


def is_empty_gid(value: int, link_layer: str | None) -> bool:
    """True for the 128-bit `value` of an entry that holds no GID.

    Unused entries are all zeros, or on InfiniBand the subnet's prefix, mostly fe80::, with interface id 0. An
    iWARP GID is a MAC address followed by zeros, and not empty.
    """
    if value & _INTERFACE_ID:
        return False
    return value in (0, _FE80) or link_layer == "InfiniBand"


def read_gids(files: HostFiles, place: str, link_layer: str | None) -> tuple[tuple[Gid, ...], Reading[int]]:
    """Returns the non-empty entries with their ranks, and the length of the table.

    Args:
        place: the port's folder.
        link_layer: as the port has it; None when it could not be read.
    """
    texts = {index: text for index, text in files.texts(f"{place}/gids").items() if _is_index(index)}
    values: dict[str, int] = {}
    for index, text in texts.items():
        value = None if text.value is None or text.value in _EMPTY_TEXTS else _gid_value(text.value)
        if value is not None and not is_empty_gid(value, link_layer):
            values[index] = value
    types = _attributes(files, f"{place}/gid_attrs/types", values, len(texts))
    netdevs = _attributes(files, f"{place}/gid_attrs/ndevs", values, len(texts))
    found = [
        Gid(index=int(index), address=_notation(value), type=types[index], netdev=netdevs[index])
        for index, value in values.items()
    ]
    return ranked(found, link_layer), _length(files, place, texts)


def _length(files: HostFiles, place: str, texts: Mapping[str, Reading[str]]) -> Reading[int]:
    if not texts:
        return files.names(f"{place}/gids").convert(lambda _: 0, "a table")
    if not any(text.known for text in texts.values()):
        # Nobody may take for an empty table one that could not be read.
        first = next(iter(texts.values()))
        return Reading.unreadable(first.source, first.reason)
    return Reading(len(texts), f"/{place}/gids")


def ranked(gids: Iterable[Gid], link_layer: str | None) -> tuple[Gid, ...]:
    """Returns the entries of one port, by index, with their ranks and with why one is not usable."""
    answer: list[Gid] = []
    last_resort_taken = False
    for gid in sorted(gids, key=lambda gid: gid.index):
        rank = rank_gid(gid.address, gid.type.value, gid.netdev.value, link_layer)
        why_not = ""
        if rank is None and not last_resort_taken:
            rank = LAST_RESORT
            last_resort_taken = True
        elif rank is None:
            kind = gid.type.value or f"a GID whose type is not known ({gid.type.reason})"
            why_not = f"Mooncake takes {kind} only as the last resort, and then the first one."
        answer.append(Gid(gid.index, gid.address, gid.type, gid.netdev, rank, why_not))
    return tuple(answer)


def _attributes(files: HostFiles, folder: str, indices: Collection[str], length: int) -> Mapping[str, Reading[str]]:
    """Returns an attribute of the non-empty entries; empty ones answer EINVAL and are best not asked."""
    if 2 * len(indices) < length:
        return files.texts(folder, only=indices)
    # Of a table that is mostly filled the whole folder is read, which is cheaper than one file after the other.
    every = files.texts(folder)
    return {index: every.get(index) or Reading.unreadable(f"/{folder}/{index}", "does not exist") for index in indices}


def _gid_value(text: str) -> int | None:
    if _KERNEL_FORM.fullmatch(text):
        return int(text.replace(":", ""), 16)
    try:
        return int(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _notation(value: int) -> str:
    address = ipaddress.IPv6Address(value)
    return str(address.ipv4_mapped or address)


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 6


def _is_overlay(netdev: str | None) -> bool:
    return netdev is not None and (netdev == "tunl0" or netdev.startswith(_OVERLAYS))
