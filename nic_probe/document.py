"""The probe's answer as JSON: what `pdpanel probe --json` prints and the Hardware tab shows.

A value that could not be read is null, and its object's "unreadable" says why, by key. Keys and meanings are
kept stable; new ones are added. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .gpus.gpu import Gpu
from .host import Host
from .nics.device import RdmaDevice, RdmaPort
from .reading import Reading
from .topology.choice import ib_device_value
from .topology.mooncake import mooncake_rows
from .topology.pci import PciDevice, PcieLink
from .topology.survey import NicFitness, Topology

__all__ = ["probe_document"]


def probe_document(host: Host, topology: Topology) -> dict[str, Any]:
    """Returns the whole answer, of plain JSON values.

    Keys: host, numa_nodes, gpus, nics, paths, switches, mooncake_topology, mooncake_alone, ib_devices, sglang_ib_device
    (the value of --disaggregation-ib-device), notes.
    A GPU's "id" is its PCI address, a NIC's is its name; sizes are in bytes. A NIC's "why_not" says why it is not
    usable, or why one that is usable is not preferred all the same ("fit" is false).
    """
    fitness = {entry.nic: entry for entry in topology.fitness}
    nics = host.rdma.otherwise(())
    return {
        "host": _host(host),
        "numa_nodes": [_plain(node) for node in host.cpu.numa_nodes],
        "gpus": [_gpu(gpu, host.pci.devices.get(gpu.pci)) for gpu in host.gpus.devices],
        "nics": [_nic(nic, fitness.get(nic.name), _pci_of(host, nic)) for nic in nics],
        "paths": [
            {
                "gpu": path.gpu,
                "nic": path.nic,
                "class": str(path.level),
                "mooncake_distance": path.mooncake_distance,
                "source": path.source,
                "reason": path.reason,
            }
            for path in topology.paths
        ],
        "switches": [
            {"pci": uplink, "gpus": list(gpus), "nics": list(names)}
            for uplink, (gpus, names) in topology.switches.items()
        ],
        "mooncake_topology": mooncake_rows(topology.mooncake),
        "mooncake_alone": mooncake_rows(topology.mooncake_alone),
        "ib_devices": {gpu: list(names) for gpu, names in topology.ib_devices.items()},
        "sglang_ib_device": ib_device_value(topology, host),
        "notes": [*_source_notes(host), *host.gpus.notes, *topology.notes],
    }


def _source_notes(host: Host) -> list[str]:
    notes = list(host.notes)
    if not host.rdma.known:
        notes.append(f"The RDMA devices are not known: {host.rdma.source} {host.rdma.reason}.")
    return notes


def _host(host: Host) -> dict[str, Any]:
    fields = _object(
        {
            "name": host.name,
            "live": host.live,
            "source": host.source,
            "kernel": host.kernel,
            "os": host.os,
            "driver_version": host.gpus.driver_version,
            "runtime_version": host.gpus.runtime_version,
            "ibverbs": host.ibverbs,
        }
    )
    cpu = _plain(host.cpu)
    cpu.pop("numa_nodes", None)
    return fields | {
        "cpu": cpu,
        "memory": _plain(host.memory),
        "netdevs": [_plain(netdev) for netdev in host.netdevs],
    }


def _gpu(gpu: Gpu, pci: PciDevice | None) -> dict[str, Any]:
    fields = {"id": gpu.pci, **_plain(gpu)} | _placed(pci)
    if pci is None or not (pci.link.gb_per_s.known or pci.link.max_width.known):
        fields["pcie_link"] = _link(gpu.pcie_link)  # The driver's word, where the kernel has none.
    return fields


def _pci_of(host: Host, nic: RdmaDevice) -> PciDevice | None:
    return None if nic.pci.value is None else host.pci.devices.get(nic.pci.value)


def _nic(nic: RdmaDevice, fitness: NicFitness | None, pci: PciDevice | None) -> dict[str, Any]:
    fields = _plain(nic)
    fields["ports"] = [_port(port) for port in nic.ports]
    fields["fit"] = None if fitness is None else fitness.fit
    fields["signs"] = [] if fitness is None else list(fitness.signs)
    if fitness is not None and not fitness.fit and not nic.why_not:
        fields["why_not"] = f"Not for KV: {' '.join(fitness.signs)}"
    return fields | _placed(pci)


def _port(port: RdmaPort) -> dict[str, Any]:
    fields = _plain(port)
    return {"port": fields.pop("number"), "active": port.active, **fields}


def _placed(pci: PciDevice | None) -> dict[str, Any]:
    if pci is None:
        return {"pci_chain": [], "pcie_link": None}
    return {"pci_chain": list(pci.chain), "pcie_link": _link(pci.link)}


def _link(link: PcieLink) -> dict[str, Any]:
    fields = {field.name: getattr(link, field.name) for field in dataclasses.fields(link)}
    del fields["whole_gb_per_s"]
    return _object(fields | {"gb_per_s": link.gb_per_s})


def _plain(value: Any) -> dict[str, Any]:
    """Returns a dataclass as JSON, its readings unwrapped."""
    return _object({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for key, value in fields.items():
        if isinstance(value, Reading):
            answer[key] = _json(value.value)
            if not value.known:
                unreadable[key] = f"{value.source} {value.reason}".strip()
        else:
            answer[key] = _json(value)
    if unreadable:
        answer["unreadable"] = unreadable
    return answer


def _json(value: Any) -> Any:
    if isinstance(value, Reading):
        return _json(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(value)
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_json(item) for item in value]
    # Enums with a text, such as a vendor, become that text.
    return str(value) if isinstance(value, str) else value
