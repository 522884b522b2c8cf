"""The PCI devices that matter here and the way from the root to each of them.

Values and one reader. Called by `host`; `paths` and `mooncake` judge what is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..reading import Reading

__all__ = ["PciDevice", "PciTree", "PcieLink"]


@dataclass(frozen=True, slots=True)
class PcieLink:
    """A PCI Express link, now and at most.

    Attributes:
        speed_gts: gigatransfers per second of one lane, such as 16.0.
        width: lanes.
    """

    speed_gts: Reading[float]
    width: Reading[int]
    max_speed_gts: Reading[float]
    max_width: Reading[int]


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI function.

    Attributes:
        address: as sysfs writes it, such as 0000:18:00.0.
        chain: addresses from the root down to this device: the root (`pci0000:16`), each bridge, the device
            itself; empty when the source shows no tree.
        path: the device's place below the root of the file system with all links followed, such as
            `sys/devices/pci0000:16/0000:16:01.0/0000:18:00.0`; made up from the chain for a topology file;
            empty when unknown.
        class_code: PCI class with subclass, such as 0x0302.
        vendor: such as 0x10de.
        numa_node: unreadable when the platform does not say.
        physical_function: the address of the function that this one is a virtual function of; unreadable
            for a physical function.
    """

    address: str
    chain: tuple[str, ...]
    path: str
    class_code: Reading[int]
    vendor: Reading[str]
    device: Reading[str]
    driver: Reading[str]
    numa_node: Reading[int]
    link: PcieLink
    physical_function: Reading[str]

    @property
    def bridges(self) -> tuple[str, ...]:
        """The bridges between the root and this device, the outermost first."""
        return self.chain[1:-1]


@dataclass(frozen=True, slots=True)
class PciTree:
    """The PCI functions by address: GPUs, RDMA NICs, and the bridges above them.

    Attributes:
        source: which source showed it: sysfs, hwloc or nccl.
        flattened: True when one node of the source stands for a whole switch, as in NCCL's files, and when
            host bridges are not told apart.
    """

    source: str = "sysfs"
    devices: Mapping[str, PciDevice] = field(default_factory=dict)
    flattened: bool = False
