"""What a topology file says of a host, whichever program wrote the file.

A value. Made by `hwloc_xml` and `nccl_xml`, handed out by `topology_file`; `host` makes a Host of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cpu import NumaNode
from ..gpus.gpu import Gpu
from ..netdev import Netdev
from ..nics.device import RdmaDevice
from ..reading import Reading
from ..topology.pci import PciTree

__all__ = ["XmlHost"]


@dataclass(frozen=True, slots=True)
class XmlHost:
    """One host as a topology file has it; whatever such files do not hold is unreadable.

    Attributes:
        source: hwloc or nccl.
        numa_nodes: by number; nodes that are the memory of a GPU have no CPUs.
        netdevs: interfaces that are no RDMA devices, in natural order.
        rdma: the RDMA NICs, in natural order.
        gpus: by PCI address.
        pci: GPUs, RDMA NICs and the bridges above them.
        notes: one sentence for whatever is odd about the file.
    """

    source: str
    name: Reading[str]
    numa_nodes: tuple[NumaNode, ...]
    netdevs: tuple[Netdev, ...]
    rdma: tuple[RdmaDevice, ...]
    gpus: tuple[Gpu, ...]
    pci: PciTree
    notes: tuple[str, ...] = ()
