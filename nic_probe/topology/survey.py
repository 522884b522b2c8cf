"""The topology of a host: every way from a GPU to a NIC, and what follows from it.

One value, made once from a probed host by `survey_topology`; pure. Called by the panel and by the checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["GpuNicPath", "MooncakeTopology", "NicFitness", "PathClass", "Topology"]

# {"cuda:0": (preferred, others)}, as Mooncake writes it in its topology JSON.
MooncakeTopology = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


class PathClass(StrEnum):
    """How a GPU reaches a NIC, the nearest first, in nvidia-smi's words; `UNKNOWN` is not the same as far."""

    PIX = "PIX"
    PXB = "PXB"
    PHB = "PHB"
    NODE = "NODE"
    SYS = "SYS"
    UNKNOWN = "UNKNOWN"


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


@dataclass(frozen=True, slots=True)
class NicFitness:
    """Whether a NIC is one for KV.

    Attributes:
        fit: False when it must not be preferred; a doubtful NIC stays fit.
        signs: what speaks against it, one short sentence each; empty for a plain NIC.
    """

    nic: str
    fit: bool
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """What follows from where the devices sit.

    Attributes:
        paths: one for each pair of a GPU and a NIC, GPUs by PCI address, NICs in natural order.
        fitness: one for each NIC.
        mooncake: Mooncake's preferred and other NICs for each memory, with unfit NICs never preferred while
            another is at hand.
        mooncake_alone: the same by Mooncake's rule alone, which knows of no fitness.
        ib_devices: for each GPU's PCI address the NICs to name in SGLang's --disaggregation-ib-device.
        switches: for each PCI switch its uplink's address and the GPUs (PCI addresses) and NICs (names) below.
        notes: one sentence for whatever is odd.
    """

    paths: tuple[GpuNicPath, ...]
    fitness: tuple[NicFitness, ...]
    mooncake: MooncakeTopology
    mooncake_alone: MooncakeTopology
    ib_devices: Mapping[str, tuple[str, ...]]
    switches: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    notes: tuple[str, ...] = ()
