"""Mooncake's preferred NICs for each memory of a host, by the rule of its own discovery.

Pure. The rule is that of Mooncake's `mooncake-transfer-engine/src/topology.cpp` as of 3b5a594 (August 2026):

- A device is a candidate when it passes the filters, its verbs node can be opened, and a port with a GID table
  is ACTIVE. What that table holds is not looked at.
- `cpu:N`, one for each node of the kernel whether or not it has CPUs: the NICs of node N are preferred.
- `cuda:i` (`hip:i`), i as the process counts: of the NICs on the GPU's own NUMA node, or of all when none is
  known to be there, those at the smallest distance are preferred. The distance of two devices is what is left of
  their real paths after the first character that differs, counted in path separators of both.
- A NIC that is not preferred for a memory is one of its others; it takes part in retries.

Called by `survey`, and by whoever writes a file for MC_CUSTOM_TOPO_JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..gpus.gpu import Gpu, Vendor
from ..nics.device import RdmaDevice, RdmaPort
from .pci import PciTree

__all__ = [
    "GpuPlace",
    "MooncakeTopology",
    "NicPlace",
    "gpu_place",
    "mooncake_candidate",
    "mooncake_filter",
    "mooncake_rows",
    "mooncake_topology",
    "nic_place",
    "pci_distance",
    "to_mooncake_json",
]

# {"cuda:0": (preferred, others)}, as Mooncake writes it in its topology JSON.
MooncakeTopology = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

# GPU_PREFIX of Mooncake's builds. Its discovery makes no rows for an Ascend; the name counts in a file alone.
_PREFIXES = {Vendor.NVIDIA: "cuda", Vendor.AMD: "hip", Vendor.HUAWEI: "npu"}


@dataclass(frozen=True, slots=True)
class NicPlace:
    """What Mooncake's rule looks at in a NIC.

    Attributes:
        path: its place in the file system with all links followed; empty when it has none, as software
            devices have.
        numa_node: -1 when unknown.
    """

    name: str
    path: str
    numa_node: int


@dataclass(frozen=True, slots=True)
class GpuPlace:
    """What Mooncake's rule looks at in a GPU.

    Attributes:
        row: Mooncake's name of its memory, such as cuda:0.
        path: its place in the file system with all links followed; empty when unknown.
        numa_node: -1 when unknown.
    """

    row: str
    path: str
    numa_node: int


def pci_distance(one: str, other: str) -> int:
    """Returns Mooncake's distance of two real paths, -1 when one of them is missing.

    The comparison is by characters: siblings whose names begin alike are as near as any other siblings.
    """
    if not one or not other:
        return -1
    differs = (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    common = next(differs, min(len(one), len(other)))
    return one.count("/", common) + other.count("/", common)


def mooncake_topology(
    nics: Sequence[NicPlace], gpus: Sequence[GpuPlace], nodes: Sequence[int], *, never: Collection[str] = ()
) -> MooncakeTopology:
    """Returns the preferred and the other NICs of each memory, each in the order of `nics`.

    Args:
        nics: the candidates.
        gpus: the GPUs that the process sees.
        nodes: the kernel's NUMA nodes.
        never: names of candidates that the rule is not to choose from; Mooncake's own rule has none.
    """
    rows: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    eligible = [nic for nic in nics if nic.name not in never]
    for node in nodes:
        rows[f"cpu:{node}"] = _split(nics, {nic.name for nic in eligible if nic.numa_node == node})
    for gpu in gpus:
        near = [nic for nic in eligible if nic.numa_node == gpu.numa_node != -1] or eligible
        distances = {nic.name: pci_distance(nic.path, gpu.path) for nic in near}
        least = min((distance for distance in distances.values() if distance >= 0), default=None)
        rows[gpu.row] = _split(nics, {name for name, distance in distances.items() if distance == least})
    return rows


def _split(nics: Sequence[NicPlace], preferred: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(nic.name for nic in nics if nic.name in preferred),
        tuple(nic.name for nic in nics if nic.name not in preferred),
    )


def mooncake_filter(environ: Mapping[str, str]) -> frozenset[str]:
    """Returns the names that MC_TE_FILTERS lets through; empty when it lets through all."""
    names = (name.strip() for name in environ.get("MC_TE_FILTERS", "").split(","))
    return frozenset(name for name in names if name)


def mooncake_candidate(nic: RdmaDevice, only: Collection[str] = ()) -> tuple[bool | None, str]:
    """Returns whether Mooncake's discovery keeps a device, None when that is not known, and why not as a sentence.

    Args:
        nic: the device.
        only: the names that MC_TE_FILTERS lets through; empty for all.
    """
    if only and nic.name not in only:
        return False, "MC_TE_FILTERS does not name it."
    # Not its ports but its node or its user library: Mooncake cannot open it either.
    if nic.usable is False and (not nic.verbs_node.known or any(port.usable for port in nic.ports)):
        return False, nic.why_not or "It cannot be opened."
    ports = [_opens(port) for port in nic.ports]
    if any(ports):
        return (None, nic.why_not) if nic.usable is None else (True, "")
    if ports and all(port is False for port in ports):
        return False, nic.why_not or "No port with a GID table is ACTIVE."
    # A source that says nothing of ports; whoever made the device may still know.
    return nic.usable, "" if nic.usable else nic.why_not or "The source does not show the state of its ports."


def _opens(port: RdmaPort) -> bool | None:
    if port.gid_table_length.value == 0 or (port.state.known and not port.active):
        return False
    return True if port.active else None


def nic_place(nic: RdmaDevice, tree: PciTree) -> NicPlace:
    """Returns what the rule looks at in `nic`."""
    place = tree.devices.get(nic.pci.value or "")
    node = nic.numa_node if place is None or not place.numa_node.known else place.numa_node
    return NicPlace(nic.name, "" if place is None else place.path, node.otherwise(-1))


def gpu_place(gpu: Gpu, tree: PciTree) -> GpuPlace | None:
    """Returns what the rule looks at in `gpu`; None when the process does not see it or Mooncake knows no such GPU."""
    prefix = _PREFIXES.get(gpu.vendor)
    if prefix is None or gpu.visible_index.value is None:
        return None
    row = f"{prefix}:{gpu.visible_index.value}"
    place = tree.devices.get(gpu.pci)
    if place is None:
        return GpuPlace(row, "", -1)
    return GpuPlace(row, place.path, place.numa_node.otherwise(-1))


def mooncake_rows(topology: MooncakeTopology) -> dict[str, list[list[str]]]:
    """Returns the topology as plain JSON values: exactly two arrays for each memory."""
    return {place: [list(preferred), list(others)] for place, (preferred, others) in topology.items()}


def to_mooncake_json(topology: MooncakeTopology) -> str:
    """Returns the text of a file for MC_CUSTOM_TOPO_JSON."""
    return json.dumps(mooncake_rows(topology), indent=2) + "\n"
