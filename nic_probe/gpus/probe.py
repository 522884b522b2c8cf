"""The GPUs of the host: what the vendors' libraries say, and whatever the PCI bus lists.

A library or driver that is missing is a note with its reason. Called by `host`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..reading import Reading
from ..sources.files import HostFiles
from .gpu import Gpu, GpuHealth, Gpus, Vendor

__all__ = ["probe_gpus"]

_VENDORS = {"0x10de": Vendor.NVIDIA, "0x1002": Vendor.AMD}
_PCI = "sys/bus/pci/devices"


def probe_gpus(files: HostFiles, environ: Mapping[str, str]) -> Gpus:
    """Returns the GPUs in the order of their PCI addresses."""
    found: list[Gpu] = []
    for pci in files.names(_PCI).otherwise(()):
        # 0x0300 VGA, 0x0302 3D controller, 0x0380 other display controller: compute GPUs report any of them.
        if files.text(f"{_PCI}/{pci}/class").otherwise("")[:6] not in {"0x0300", "0x0302", "0x0380"}:
            continue
        vendor = _VENDORS.get(files.text(f"{_PCI}/{pci}/vendor").otherwise(""))
        if vendor is None and files.exists(f"proc/driver/nvidia/gpus/{pci}"):
            vendor = Vendor.NVIDIA
        if vendor is None:
            continue  # The display chips of management controllers and of desktop processors.
        why = Reading.unreadable("PCI", "is known from the PCI bus alone")
        node = files.integer(f"{_PCI}/{pci}/numa_node")
        found.append(
            Gpu(
                pci, vendor, why, why, why, why, why, why, why, why,
                node.convert(lambda number: number if number >= 0 else None, "a node"),
                why, why, GpuHealth.unreadable("PCI", "is known from the PCI bus alone"),
            )
        )
    why = Reading.unreadable("NVML", "was not asked")
    return Gpus(tuple(found), why, why, ())
