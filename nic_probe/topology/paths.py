"""How near a GPU and a NIC are, in nvidia-smi's words, from the chains of PCI addresses above them.

Pure. A tree of the kernel or of hwloc has every port of a switch; in NCCL's files one node stands for a whole
switch and the CPU of a NUMA node is the root, so the two kinds are judged by rules of their own. Called by
`survey`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .pci import PciDevice

__all__ = ["GpuNicPath", "PathClass", "hides_switches", "path_class"]


class PathClass(StrEnum):
    """How a GPU reaches a NIC, the nearest first, in nvidia-smi's words; `UNKNOWN` is not the same as far."""

    PIX = "PIX"
    PXB = "PXB"
    PHB = "PHB"
    NODE = "NODE"
    SYS = "SYS"
    UNKNOWN = "UNKNOWN"

    @property
    def rank(self) -> int:
        """A number that grows with the way; an unknown way counts like the longest one."""
        return _RANKS[self]


_RANKS = {level: rank for rank, level in enumerate(PathClass)} | {PathClass.UNKNOWN: len(PathClass) - 2}


@dataclass(frozen=True, slots=True)
class GpuNicPath:
    """The way from one GPU to one NIC.

    Attributes:
        gpu: the GPU's PCI address.
        nic: the NIC's name.
        mooncake_distance: Mooncake's count of path separators; -1 when a path is missing, as Mooncake has it.
        source: what showed it: sysfs, hwloc or nccl.
        reason: why this class, in a few words, such as `same switch 0000:81:00.0`.
    """

    gpu: str
    nic: str
    level: PathClass
    mooncake_distance: int
    source: str
    reason: str


def path_class(gpu: PciDevice | None, nic: PciDevice | None, *, flattened: bool, nodes: int) -> tuple[PathClass, str]:
    """Returns how near the two are, and why in a few words.

    In a kernel's tree: a common switch with at most one bridge (its port) below it on either side is PIX, with
    more it is PXB; a common root alone is PHB; different roots are NODE on one NUMA node, else SYS. In NCCL's:
    directly below one switch is PIX, with a further switch between PXB, through one CPU PHB, else SYS.

    Args:
        gpu: None when the source does not show it.
        nic: the same.
        flattened: True when one node of the tree stands for a whole switch.
        nodes: NUMA nodes with CPUs, 0 when unknown. With one, an unknown node can only be that one.
    """
    if gpu is None or nic is None:
        missing = "GPU" if gpu is None else "NIC"
        return PathClass.UNKNOWN, f"the {missing} has no place in the PCI tree"
    common = _common(gpu.chain, nic.chain)
    if common:
        return _below_one_root(gpu, nic, common, flattened)
    hidden = not gpu.chain or not nic.chain
    return _by_node(gpu, nic, nodes, hidden=hidden, flattened=flattened and not hidden)


def hides_switches(devices: Iterable[PciDevice]) -> bool:
    """True when every device of a kernel's tree sits on a root itself, as a hypervisor shows them to its guest."""
    chains = [device.chain for device in devices]
    return bool(chains) and all(len(chain) == 2 for chain in chains)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return one[:length]


def _below_one_root(gpu: PciDevice, nic: PciDevice, common: tuple[str, ...], flattened: bool) -> tuple[PathClass, str]:
    if len(common) == 1:
        return PathClass.PHB, f"same {'CPU' if flattened else 'host bridge'} {common[0]}, no common switch"
    between = max(len(device.chain) - len(common) - 1 for device in (gpu, nic))
    if between > (0 if flattened else 1):
        return PathClass.PXB, f"several switches below {common[-1]}"
    # Without a bridge between there is one bus below one port: the functions of a card.
    what = "switch" if flattened or between > 0 else "port"
    return PathClass.PIX, f"same {what} {common[-1]}"


def _by_node(gpu: PciDevice, nic: PciDevice, nodes: int, *, hidden: bool, flattened: bool) -> tuple[PathClass, str]:
    ends = {"GPU": gpu.numa_node.value, "NIC": nic.numa_node.value}
    why = "the source shows no PCI tree" if hidden else "different host bridges"
    if ends["GPU"] is not None and ends["GPU"] == ends["NIC"]:
        if flattened:
            return PathClass.PHB, f"same NUMA node {ends['GPU']}"
        return PathClass.NODE, f"{why}, same NUMA node {ends['GPU']}" + (", perhaps nearer" if hidden else "")
    unknown = [name for name, node in ends.items() if node is None]
    if flattened:
        return PathClass.SYS, f"different CPUs {gpu.chain[0]} and {nic.chain[0]}"
    if not unknown:
        return PathClass.SYS, f"different NUMA nodes {ends['GPU']} and {ends['NIC']}"
    if nodes == 1:
        return PathClass.NODE, f"{why}, the host has one NUMA node"
    return PathClass.UNKNOWN, f"NUMA node of the {' and the '.join(unknown)} unknown, perhaps SYS"
