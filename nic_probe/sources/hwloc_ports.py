"""The ports of an RDMA NIC from the attributes that lstopo writes below it, such as `Port1State`.

Sources: hwloc's topology-linux.c. Pure; called by `hwloc_xml`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace

from ..nics.device import Gid, RdmaPort
from ..reading import Reading
from .xml_devices import rdma_port, unsaid

__all__ = ["hwloc_ports"]

_KEY = re.compile(r"Port(\d{1,3})(State|LID|GID(\d{1,4}))", re.ASCII)
# Numbers of ib_port_state in the kernel's include/rdma/ib_verbs.h.
_STATES = {"0": "NOP", "1": "DOWN", "2": "INIT", "3": "ARMED", "4": "ACTIVE", "5": "ACTIVE_DEFER"}


def hwloc_ports(infos: Mapping[str, str], interfaces: Mapping[str, str], source: str) -> list[RdmaPort]:
    """Returns the ports by number.

    Args:
        infos: the attributes of the NIC.
        interfaces: the interfaces of the same PCI function, each with the number of its port if the file says it.
        source: the file.
    """
    ports: dict[int, RdmaPort] = {}
    gids: dict[int, list[Gid]] = {}
    for key, value in infos.items():
        found = _KEY.fullmatch(key)
        if found is None:
            continue
        number = int(found[1])
        port = ports.setdefault(number, rdma_port(source, number))
        if found[2] == "State" and value in _STATES:
            ports[number] = replace(port, state=Reading(_STATES[value], source))
        elif found[2] == "LID":
            lid = Reading(value, source).convert(lambda text: int(text, 16), "a LID")
            # Only InfiniBand has LIDs other than 0.
            layer = Reading("InfiniBand", source) if lid.value else port.link_layer
            ports[number] = replace(port, lid=lid, link_layer=layer)
        elif found[3] and (address := _gid(value)):
            unknown = "the topology file does not say its type"
            gids.setdefault(number, []).append(
                Gid(int(found[3]), address, unsaid(source), unsaid(source), why_not=unknown)
            )
    return [
        replace(
            port,
            gids=tuple(sorted(gids.get(number, ()), key=lambda gid: gid.index)),
            netdevs=tuple(name for name, at in interfaces.items() if at == str(number) or (not at and len(ports) == 1)),
        )
        for number, port in sorted(ports.items())
    ]


def _gid(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    return str(address.ipv4_mapped or address)
