"""An RDMA NIC as a value: its ports, its GIDs, and whether KV can travel through it.

What the kernel lists need not be usable: a container sees devices that it may not open, and an ACTIVE port
without a GID of this network namespace carries nothing. Made by the readers beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading

__all__ = ["Gid", "PortCounters", "RdmaDevice", "RdmaPort"]


@dataclass(frozen=True, slots=True)
class Gid:
    """One non-empty entry of a port's GID table.

    Attributes:
        address: the GID in IPv6 notation, or the IPv4 address that it maps.
        type: `IB/RoCE v1` or `RoCE v2`; means nothing on InfiniBand.
        netdev: the interface that the entry belongs to; unreadable when it is in another network namespace.
        rank: Mooncake's rank of it, 0 the best to 6; None when Mooncake would not take it.
        why_not: why it is not usable; empty when it is.
    """

    index: int
    address: str
    type: Reading[str]
    netdev: Reading[str]
    rank: int | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class PortCounters:
    """The counters of a port at one moment.

    Attributes:
        tx_bytes: sent, in bytes, whatever unit the file has.
        rx_bytes: received, in bytes.
        source: the files that tx and rx come from; says so when they include traffic that is not RDMA.
        others: every other counter of the port by its own name, such as `out_of_sequence`.
    """

    tx_bytes: Reading[int]
    rx_bytes: Reading[int]
    source: str
    others: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port.

    Attributes:
        state: ACTIVE, DOWN, INIT, ARMED and so on, without the kernel's number.
        physical_state: LinkUp, Polling, Disabled and so on, in the driver's words.
        rate_gbps: gigabits per second; a port that is down shows a placeholder.
        rate: the kernel's text, such as `400 Gb/sec (4X NDR)`.
        link_layer: InfiniBand, Ethernet or Unknown (as EFA has it).
        mtu: bytes of the path MTU in use; from verbs, or derived from the interface's MTU.
        sm_lid: the subnet manager's LID, 0 without one.
        pkeys: partition keys that are not empty.
        gid_table_length: entries of the table, empty ones included.
        netdevs: the interfaces of this port in this network namespace.
        usable: True or False when it is known whether KV can travel through it, None when it is not.
        why_not: why it is not usable, or why that is not known; empty when it is usable.
        doubts: what speaks against a port that is usable all the same, one sentence each.
    """

    number: int
    state: Reading[str]
    physical_state: Reading[str]
    rate_gbps: Reading[float]
    rate: Reading[str]
    link_layer: Reading[str]
    lid: Reading[int]
    sm_lid: Reading[int]
    mtu: Reading[int]
    pkeys: tuple[int, ...]
    gid_table_length: Reading[int]
    gids: tuple[Gid, ...]
    netdevs: tuple[str, ...]
    counters: PortCounters
    usable: bool | None = None
    why_not: str = ""
    doubts: tuple[str, ...] = ()

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
        physical_function: the RDMA device (or else the PCI address) that this one is a virtual function of;
            unreadable for a physical function.
        bond: the bonded interface that its ports share; unreadable without one.
        management: True when its own data say that it manages a switch (NVSwitch) and carries no KV.
        verbs_node: the character device that a process opens, such as /dev/infiniband/uverbs0; unreadable
            when there is none or this user may not read and write it.
        usable: True when a port of it is usable; None when that is not known.
        why_not: why it is not usable, or why that is not known; empty when it is usable.
    """

    name: str
    node_type: Reading[str]
    board: Reading[str]
    firmware: Reading[str]
    node_guid: Reading[str]
    driver: Reading[str]
    pci: Reading[str]
    numa_node: Reading[int]
    netdevs: Reading[tuple[str, ...]]
    physical_function: Reading[str]
    bond: Reading[str]
    management: Reading[bool]
    verbs_node: Reading[str]
    ports: tuple[RdmaPort, ...]
    usable: bool | None = None
    why_not: str = ""
