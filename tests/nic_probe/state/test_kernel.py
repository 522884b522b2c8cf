"""Kernel settings and modules, from files as the kernel writes them."""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.kernel import KernelSettings, probe_kernel


def _probe(files: dict[str, str]) -> KernelSettings:
    return probe_kernel(HostFiles(MemoryTree({path: text.encode() for path, text in files.items()})))


def test_settings_of_a_running_kernel() -> None:
    kernel = _probe(
        {
            "proc/sys/vm/max_map_count": "65530\n",
            "proc/sys/kernel/numa_balancing": "1\n",
            "proc/cmdline": "quiet iommu=pt\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            "sys/kernel/iommu_groups/0/type": "identity\n",
            "sys/kernel/iommu_groups/1/type": "DMA\n",
            "sys/module/ib_core/parameters/netns_mode": "N\n",
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15\n",
        }
    )
    assert kernel.max_map_count.value == 65530
    assert kernel.numa_balancing.value == 1
    assert kernel.command_line.value == "quiet iommu=pt"
    assert kernel.transparent_huge_pages.value == "madvise"
    assert kernel.iommu_groups.value == 2
    assert kernel.rdma_shared.value is False
    assert kernel.nvidia_open.value is True
    assert kernel.swappiness.reason == "does not exist"


def test_modules_have_versions_where_they_matter() -> None:
    files = {"sys/module/nvidia/version": "570.86.15\n", "sys/module/nvidia_peermem/initstate": "live\n"}
    kernel = _probe(files | {"sys/module/ext4/version": "1\n"})
    assert kernel.modules.value == {"ext4": "", "nvidia": "570.86.15", "nvidia_peermem": ""}
    assert _probe({}).modules.value is None


@pytest.mark.parametrize(
    ("text", "is_open"),
    [("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15", False), ("something else", None)],
)
def test_which_of_nvidias_drivers_it_is(text: str, is_open: bool | None) -> None:
    assert _probe({"proc/driver/nvidia/version": text}).nvidia_open.value is is_open


def test_the_options_of_a_kernel_matter_to_amd_alone() -> None:
    config = {"boot/config-6.8.0": "# CONFIG_PCI_P2PDMA is not set\nCONFIG_DMABUF_MOVE_NOTIFY=y\n"}
    release = {"proc/sys/kernel/osrelease": "6.8.0\n"}
    amd = {"sys/module/amdgpu/initstate": "live\n"}
    assert _probe(config | release | amd).options.value == {"CONFIG_PCI_P2PDMA": "n", "CONFIG_DMABUF_MOVE_NOTIFY": "y"}
    assert "without amdgpu" in _probe(config | release).options.reason
    assert _probe(config | amd).options.reason == "does not exist"
    assert _probe(config | amd | {"proc/sys/kernel/osrelease": "../../etc/x"}).options.reason == "is no release"
    assert "configuration of a kernel" in _probe({"boot/config-6.8.0": "x"} | release | amd).options.reason
