"""What is odd about a host's topology, one sentence each.

Pure. Called by `survey`, which hands over everything else that it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..nics.device import RdmaDevice
from .choice import is_unnamed
from .mooncake import gpu_place, mooncake_candidate, mooncake_filter
from .paths import hides_switches

if TYPE_CHECKING:
    from ..host import Host
    from .survey import Topology

__all__ = ["topology_notes"]


def topology_notes(host: Host, topology: Topology) -> tuple[str, ...]:
    """Returns the notes on `topology`, which was made from `host`."""
    nics = host.rdma.otherwise(())
    return (
        *_on_the_source(host, nics),
        *_on_numa(host, nics),
        *_on_candidates(host, nics),
        *_on_rows(host, topology),
        *_on_differences(topology, nics),
        *_on_near_nics(host, topology),
        *_on_bonds(nics),
    )


def _on_the_source(host: Host, nics: Sequence[RdmaDevice]) -> Iterable[str]:
    tree = host.pci
    gpus = [tree.devices[gpu.pci] for gpu in host.gpus.devices if gpu.pci in tree.devices]
    cards = [place for nic in nics if (place := tree.devices.get(nic.pci.value or ""))]
    if tree.source != "sysfs":
        yield (
            f"The places of the devices come from a topology file ({tree.source}); on the host itself Mooncake goes "
            "by the kernel's tree and may choose other NICs, unless MC_CUSTOM_TOPO_JSON names a file with this answer."
        )
    if any(is_unnamed(nic) for nic in nics):
        yield (
            "The topology file names no RDMA device, so the NICs go by their PCI addresses: before you hand them to "
            "Mooncake or SGLang, replace each address by the name that `ls -l /sys/class/infiniband` shows for it."
        )
    if not gpus or not cards:
        return
    if not tree.flattened and hides_switches([*gpus, *cards]):
        yield (
            "No PCI bridge is shown above any GPU or NIC, so a hypervisor hides the switches and the classes say "
            "little; a NCCL topology file (NCCL_TOPO_FILE, often /var/run/nvidia-topologyd/virtualTopology.xml) "
            "gives the real affinity."
        )
    if not any(device.chain for device in (*gpus, *cards)):
        yield "The source shows no PCI tree: how near a NIC is to a GPU is known by NUMA node alone."


def _on_numa(host: Host, nics: Sequence[RdmaDevice]) -> Iterable[str]:
    places = {gpu.pci: gpu.pci for gpu in host.gpus.devices}
    places |= {nic.name: nic.pci.value for nic in nics if nic.pci.value is not None}
    devices = host.pci.devices
    unknown = [name for name, pci in places.items() if pci in devices and not devices[pci].numa_node.known]
    if unknown and len(host.cpu.numa_nodes) != 1:
        yield f"The NUMA node of {_list(unknown)} is not known; unknown is not far."


def _on_candidates(host: Host, nics: Sequence[RdmaDevice]) -> Iterable[str]:
    only = mooncake_filter(host.state.environ.otherwise({}))
    passed: dict[str, list[str]] = {}
    unsure: dict[str, list[str]] = {}
    for nic in nics:
        candidate, why_not = mooncake_candidate(nic, only)
        if candidate is False:
            passed.setdefault(why_not, []).append(nic.name)
        elif candidate is None:
            unsure.setdefault(why_not, []).append(nic.name)
    for why_not, names in passed.items():
        yield f"Mooncake passes over {_list(names)}. {_sentence(why_not)}"
    for why_not, names in unsure.items():
        which = "the NICs" if len(names) == len(nics) else _list(names)
        yield f"Whether Mooncake can use {which} is not certain. {_sentence(why_not)}"


def _on_rows(host: Host, topology: Topology) -> Iterable[str]:
    unseen: dict[str, list[str]] = {}
    for gpu in host.gpus.devices:
        number = gpu.visible_index
        if gpu_place(gpu, host.pci) is None:
            why = "Mooncake has no build for its vendor" if number.known else f"{number.source} {number.reason}"
            unseen.setdefault(why, []).append(gpu.pci)
    for why, gpus in unseen.items():
        yield f"Mooncake has no row for GPU {_list(gpus)}: {why}."
    if any(row.startswith("npu:") for row in topology.mooncake):
        yield "Mooncake's own discovery makes no rows for Ascend; rows npu:N count in a file of MC_CUSTOM_TOPO_JSON."
    bare = [f"cpu:{node.id}" for node in host.cpu.numa_nodes if node.cpus.value == ""]
    if bare:
        yield f"Mooncake makes rows for nodes of memory without CPUs too: {_list(bare)}."


def _on_differences(topology: Topology, nics: Sequence[RdmaDevice]) -> Iterable[str]:
    signs = {entry.nic: entry.signs for entry in topology.fitness if not entry.fit}
    rows: dict[str, list[str]] = {}
    for row, (preferred, _) in topology.mooncake.items():
        if row not in topology.mooncake_alone:
            continue
        for name in topology.mooncake_alone[row][0]:
            if name not in preferred:
                rows.setdefault(name, []).append(row)
    for nic in nics:
        if nic.name in rows:
            why = " ".join(map(_sentence, signs.get(nic.name, ())))
            yield f"Mooncake alone would prefer {nic.name} for {_list(rows[nic.name])}, but it is not for KV. {why}"


def _on_near_nics(host: Host, topology: Topology) -> Iterable[str]:
    """Mooncake counts the separators of paths, which now and then is not how near a NIC is."""
    levels = {(path.gpu, path.nic): path.level for path in topology.paths}
    for gpu in host.gpus.devices:
        place = gpu_place(gpu, host.pci)
        nearest = topology.ib_devices.get(gpu.pci, ())
        if place is None or not nearest:
            continue
        best = levels[gpu.pci, nearest[0]]
        farther = [name for name in topology.mooncake[place.row][0] if levels[gpu.pci, name].rank > best.rank]
        if farther:
            yield (
                f"Mooncake's rule prefers {_list(farther)} for {place.row}, although {_list(nearest)} "
                f"is nearer ({best}); --disaggregation-ib-device can say so."
            )


def _on_bonds(nics: Sequence[RdmaDevice]) -> Iterable[str]:
    for nic in nics:
        if nic.bond.known:
            yield (
                f"{nic.name} is the bond {nic.bond.value} of several functions and sits where the first of them does; "
                "a GPU that is near another one looks farther than it is."
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
