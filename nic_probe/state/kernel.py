"""Settings of the kernel and the modules in it.

A module built into the kernel has no entry under `/sys/module` unless it has parameters, so an absent one proves
little by itself. Called by `host_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["KernelSettings", "probe_kernel"]

# Options without which the kernel gives no NIC the memory of an AMD GPU.
_OPTIONS = ("CONFIG_PCI_P2PDMA", "CONFIG_DMABUF_MOVE_NOTIFY")
_VERSIONED = ("nvidia", "nvidia_peermem", "nv_peer_mem", "gdrdrv", "amdgpu", "mlx5_core")


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """What the kernel was told.

    Attributes:
        max_map_count: memory areas that one process may have.
        overcommit_memory: 0 by guess, 1 always, 2 never beyond what is there.
        numa_balancing: 0 off, above it the kernel moves pages between nodes.
        transparent_huge_pages: always, madvise or never.
        modules: versions by name of the modules that are loaded; an empty version where none is told.
        nvidia_open: True when NVIDIA's driver is the one of the open kernel modules.
        rdma_shared: True when a network namespace sees the RDMA devices of the others.
        options: y, m or n by name, of those build options that decide about GPU memory for NICs.
        iommu_groups: groups of devices behind an IOMMU; 0 when it is off.
    """

    max_map_count: Reading[int]
    overcommit_memory: Reading[int]
    swappiness: Reading[int]
    numa_balancing: Reading[int]
    transparent_huge_pages: Reading[str]
    command_line: Reading[str]
    modules: Reading[Mapping[str, str]]
    nvidia_open: Reading[bool]
    rdma_shared: Reading[bool]
    options: Reading[Mapping[str, str]]
    iommu_groups: Reading[int]


def probe_kernel(files: HostFiles) -> KernelSettings:
    """Returns the settings of the running kernel."""
    modules = files.names("sys/module").convert(lambda names: _versions(files, names), "a list of modules")
    return KernelSettings(
        max_map_count=files.integer("proc/sys/vm/max_map_count"),
        overcommit_memory=files.integer("proc/sys/vm/overcommit_memory"),
        swappiness=files.integer("proc/sys/vm/swappiness"),
        numa_balancing=files.integer("proc/sys/kernel/numa_balancing"),
        transparent_huge_pages=files.text("sys/kernel/mm/transparent_hugepage/enabled").convert(
            lambda text: text.partition("[")[2].partition("]")[0] or None, "a choice in brackets"
        ),
        command_line=files.text("proc/cmdline"),
        modules=modules,
        nvidia_open=files.text("proc/driver/nvidia/version").convert(
            lambda text: "Open Kernel Module" in text if "NVRM" in text else None, "the version of NVIDIA's driver"
        ),
        rdma_shared=files.text("sys/module/ib_core/parameters/netns_mode").convert(
            {"Y": True, "N": False}.get, "Y or N"
        ),
        options=_options(files, modules),
        iommu_groups=files.names("sys/kernel/iommu_groups").convert(len, "a list of groups"),
    )


def _versions(files: HostFiles, names: tuple[str, ...]) -> Mapping[str, str]:
    return {
        name: files.text(f"sys/module/{name}/version").otherwise("") if name in _VERSIONED else "" for name in names
    }


def _options(files: HostFiles, modules: Reading[Mapping[str, str]]) -> Reading[Mapping[str, str]]:
    if "amdgpu" not in modules.otherwise({}):
        # A quarter of a megabyte that only AMD's driver makes worth reading.
        return Reading.unreadable("/boot/config", "is not looked at without amdgpu")
    release = files.text("proc/sys/kernel/osrelease")
    if release.value is None:
        return Reading(None, release.source, release.reason)
    if "/" in release.value:
        return Reading.unreadable(release.source, "is no release")

    def chosen(text: str) -> Mapping[str, str] | None:
        lines = text.splitlines()
        values = dict(line.split("=", 1) for line in lines if line.startswith(_OPTIONS) and "=" in line)
        return {name: values.get(name, "n") for name in _OPTIONS} if "CONFIG_" in text else None

    return files.text(f"boot/config-{release.value}").convert(chosen, "the configuration of a kernel")
