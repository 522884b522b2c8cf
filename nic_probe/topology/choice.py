"""Which NICs to name for each GPU in SGLang's --disaggregation-ib-device.

Pure. SGLang takes a list for all GPUs or a JSON map from the numbers that the process gives its GPUs, device names
without ports; it checks that the names exist and nothing else. Called by `survey`, and with its answer by whoever
writes the option.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ..nics.device import RdmaDevice
from .paths import GpuNicPath

if TYPE_CHECKING:
    from ..host import Host
    from .survey import Topology

__all__ = ["choose_nics", "ib_device_map", "ib_device_value", "is_unnamed"]


def choose_nics(
    paths: Sequence[GpuNicPath],
    nics: Sequence[RdmaDevice],
    fit: Collection[str],
    nodes: Mapping[str, int] | None = None,
) -> Mapping[str, tuple[str, ...]]:
    """Returns for each GPU (by PCI address) the nearest of the `fit` NICs.

    NICs that are equally near are all named, since Mooncake spreads a transfer over them; a virtual function is
    not named beside the function whose port it shares, because it adds nothing. A virtual machine may show one
    root for the devices of several NUMA nodes: of those equally near, the ones on the GPU's own node are named.

    Args:
        paths: from every GPU to every NIC.
        nics: all RDMA devices of the host.
        fit: the names to choose from.
        nodes: the NUMA nodes of the GPUs that have a known one.
    """
    by_name = {nic.name: nic for nic in nics}
    ways: dict[str, list[GpuNicPath]] = {}
    for path in paths:
        own = ways.setdefault(path.gpu, [])
        if path.nic in fit:
            own.append(path)
    chosen: dict[str, tuple[str, ...]] = {}
    for gpu, own in ways.items():
        least = min((path.level.rank for path in own), default=None)
        nearest = [by_name[path.nic] for path in own if path.level.rank == least]
        node = (nodes or {}).get(gpu)
        nearest = [nic for nic in nearest if node is not None and nic.numa_node.value == node] or nearest
        owners = {name for nic in nearest for name in (nic.name, nic.pci.value)}
        chosen[gpu] = tuple(nic.name for nic in nearest if nic.physical_function.otherwise("") not in owners)
    return chosen


def is_unnamed(nic: RdmaDevice) -> bool:
    """True when a topology file tells where a NIC is, but not its name: it then goes by its PCI address."""
    return nic.name == nic.pci.value


def ib_device_map(topology: Topology, host: Host) -> Mapping[str, str]:
    """Returns a comma list of NICs for each number that a process gives a GPU; without GPUs that it does not see."""
    visible = {gpu.visible_index.value: topology.ib_devices.get(gpu.pci, ()) for gpu in host.gpus.devices}
    numbers = sorted(index for index in visible if index is not None)
    return {str(index): ",".join(visible[index]) for index in numbers if visible[index]}


def ib_device_value(topology: Topology, host: Host) -> str:
    """Returns the value of --disaggregation-ib-device: a list when all GPUs have the same NICs, else a JSON map.

    Empty when there is no NIC to name, or one whose name the source does not tell; the option is then left out and
    Mooncake looks for NICs itself.
    """
    if any(is_unnamed(nic) for nic in host.rdma.otherwise(())):
        return ""
    devices = ib_device_map(topology, host)
    return devices[next(iter(devices))] if len(set(devices.values())) == 1 else json.dumps(devices) if devices else ""
