"""The topology of a host: every way from a GPU to a NIC, and what follows from it.

One value, made once from a probed host by `survey_topology`; pure. Called by the panel and by the checks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..gpus.gpu import Gpu, Vendor
from ..nics.device import RdmaDevice
from .choice import choose_nics
from .fitness import NicFitness, judge_fitness
from .mooncake import (
    MooncakeTopology,
    gpu_place,
    mooncake_candidate,
    mooncake_filter,
    mooncake_topology,
    nic_place,
    pci_distance,
)
from .notes import topology_notes
from .paths import GpuNicPath, PathClass, path_class
from .pci import PciDevice, PciTree
from .switches import Switches, find_switches

if TYPE_CHECKING:
    from ..host import Host

__all__ = ["GpuNicPath", "MooncakeTopology", "NicFitness", "PathClass", "Topology", "survey_topology"]

# Virtual functions make hundreds of NICs; the others are the kernel's own order of magnitude.
_MOST_GPUS = 128
_MOST_NICS = 1024
_MOST_NODES = 1024


@dataclass(frozen=True, slots=True)
class Topology:
    """What follows from where the devices sit.

    Attributes:
        paths: one for each pair of a GPU and a NIC, GPUs by PCI address, NICs in natural order.
        fitness: one for each NIC.
        mooncake: Mooncake's preferred and other NICs for each memory, with unfit NICs never preferred while
            another is at hand and without NICs that are known to be unusable; for a file that
            MC_CUSTOM_TOPO_JSON names.
        mooncake_alone: what Mooncake's discovery finds by its own rule, which knows of no fitness.
        ib_devices: for each GPU's PCI address the NICs to name in SGLang's --disaggregation-ib-device.
        switches: for each PCI switch its uplink's address and the GPUs (PCI addresses) and NICs (names) below.
        notes: one sentence for whatever is odd.
    """

    paths: tuple[GpuNicPath, ...]
    fitness: tuple[NicFitness, ...]
    mooncake: MooncakeTopology
    mooncake_alone: MooncakeTopology
    ib_devices: Mapping[str, tuple[str, ...]]
    switches: Switches
    notes: tuple[str, ...] = ()


def survey_topology(host: Host) -> Topology:
    """Returns what follows from where the devices of `host` sit."""
    host, cut = _cut(host)
    gpus, nics = host.gpus.devices, host.rdma.otherwise(())
    paths = _paths(host, gpus, nics)
    fitness = judge_fitness(nics, paths, host.netdevs, host.pci)
    fit = {entry.nic for entry in fitness if entry.fit}
    only = mooncake_filter(host.state.environ.otherwise({}))
    seen = [nic for nic in nics if mooncake_candidate(nic, only)[0] is not False]
    # The unfit ones are left for retries, those that are known to be unusable not at all.
    candidates = [nic for nic in seen if nic.usable is not False]
    unfit = {nic.name for nic in candidates} - fit
    topology = Topology(
        paths=paths,
        fitness=fitness,
        mooncake=_rows(host, candidates, gpus, never=unfit if len(unfit) < len(candidates) else ()),
        mooncake_alone=_rows(host, seen, [gpu for gpu in gpus if gpu.vendor is not Vendor.HUAWEI]),
        ib_devices=choose_nics(paths, nics, {nic.name for nic in seen} & fit, _nodes(gpus)),
        switches=find_switches(gpus, nics, host.pci),
    )
    return replace(topology, notes=(*cut, *topology_notes(host, topology)))


def _cut(host: Host) -> tuple[Host, list[str]]:
    """Leaves out what is beyond the limits, which only a broken or hostile source reaches."""
    gpus, nics, nodes = host.gpus.devices, host.rdma.otherwise(()), host.cpu.numa_nodes
    counts = (("GPUs", len(gpus), _MOST_GPUS), ("NICs", len(nics), _MOST_NICS), ("NUMA nodes", len(nodes), _MOST_NODES))
    notes = [
        f"The source names {count} {what}; the topology is that of the first {most}."
        for what, count, most in counts
        if count > most
    ]
    if notes:
        host = replace(
            host,
            gpus=replace(host.gpus, devices=gpus[:_MOST_GPUS]),
            rdma=replace(host.rdma, value=nics[:_MOST_NICS]),
            cpu=replace(host.cpu, numa_nodes=nodes[:_MOST_NODES]),
        )
    return host, notes


def _paths(host: Host, gpus: Sequence[Gpu], nics: Sequence[RdmaDevice]) -> tuple[GpuNicPath, ...]:
    # Nodes of memory alone, such as that of a GPU, have no CPUs and no PCI devices.
    nodes = sum(node.cpus.value != "" for node in host.cpu.numa_nodes)
    paths: list[GpuNicPath] = []
    for gpu in gpus:
        gpu_device = host.pci.devices.get(gpu.pci)
        for nic in nics:
            nic_device = _place(nic, host.pci)
            level, reason = path_class(gpu_device, nic_device, flattened=host.pci.flattened, nodes=nodes)
            distance = -1
            if gpu_device is not None and nic_device is not None:
                distance = pci_distance(gpu_device.path, nic_device.path)
            paths.append(GpuNicPath(gpu.pci, nic.name, level, distance, host.pci.source, reason))
    return tuple(paths)


def _nodes(gpus: Sequence[Gpu]) -> dict[str, int]:
    return {gpu.pci: gpu.numa_node.value for gpu in gpus if gpu.numa_node.value is not None}


def _place(nic: RdmaDevice, tree: PciTree) -> PciDevice | None:
    return tree.devices.get(nic.pci.value or "")


def _rows(
    host: Host, nics: Sequence[RdmaDevice], gpus: Sequence[Gpu], *, never: Collection[str] = ()
) -> MooncakeTopology:
    counted = sorted(gpus, key=lambda gpu: gpu.visible_index.otherwise(-1))
    places = (gpu_place(gpu, host.pci) for gpu in counted)
    return mooncake_topology(
        [nic_place(nic, host.pci) for nic in nics],
        [place for place in places if place is not None],
        sorted(node.id for node in host.cpu.numa_nodes),
        never=never,
    )
