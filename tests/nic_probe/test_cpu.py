from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pdpanel.nic_probe.cpu import probe_cpu
from pdpanel.nic_probe.memory import probe_memory
from pdpanel.nic_probe.sources.files import HostFiles

Grow = Callable[[Mapping[str, str]], Path]


def _topology(cpu: int, package: int, core: int) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
    return {f"{folder}/physical_package_id": f"{package}\n", f"{folder}/core_id": f"{core}\n"}


def test_counts_sockets_cores_and_threads_that_are_on(grow: Grow) -> None:
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some  CPU\nflags\t\t: fpu avx2 avx512f amx_bf16\n",
        "sys/devices/system/cpu/cpufreq/x": "",
        "sys/devices/system/cpu/cpu4/online": "0\n",
    }
    for cpu, (package, core) in enumerate([(0, 0), (1, 0), (0, 0), (1, 0)]):
        files |= _topology(cpu, package, core)
    cpu = probe_cpu(HostFiles(grow(files)))
    assert (cpu.sockets.value, cpu.cores.value, cpu.threads.value) == (2, 2, 4)
    assert cpu.model.value == "Some CPU"
    assert cpu.instruction_sets == ("avx2", "avx512f", "amx_bf16")


def test_without_topology_files_counts_cpuinfo(grow: Grow) -> None:
    cpu = probe_cpu(HostFiles(grow({"proc/cpuinfo": "processor : 0\nFeatures : asimd sve\n\nprocessor : 1\n"})))
    assert cpu.threads.value == 2
    assert cpu.sockets.reason == "has no topology files"
    assert cpu.model.reason == "names no model"
    assert cpu.instruction_sets == ("asimd", "sve")


def test_an_empty_host_gives_reasons(grow: Grow) -> None:
    cpu = probe_cpu(HostFiles(grow({})))
    assert cpu.model.reason == cpu.threads.reason == "does not exist"
    assert cpu.numa_nodes == ()


def test_numa_nodes_may_be_sparse_and_without_cpus(grow: Grow) -> None:
    folder = "sys/devices/system/node"
    root = grow(
        {
            f"{folder}/node8/cpulist": "0-3\n",
            f"{folder}/node8/meminfo": "Node 8 MemTotal:       1024 kB\nNode 8 MemFree: 1 kB\n",
            f"{folder}/node255/cpulist": "\n",
            f"{folder}/has_cpu": "8\n",
        }
    )
    first, second = probe_cpu(HostFiles(root)).numa_nodes
    assert (first.id, first.cpus.value, first.memory_bytes.value) == (8, "0-3", 1 << 20)
    assert (second.id, second.cpus.value, second.memory_bytes.known) == (255, "", False)


def test_memory_is_in_bytes_and_huge_pages_in_pages(grow: Grow) -> None:
    text = "MemTotal: 2048 kB\nMemAvailable:   1024 kB\nHugePages_Total:   3\nHugepagesize: 2048 kB\n"
    memory = probe_memory(HostFiles(grow({"proc/meminfo": text})))
    assert (memory.total_bytes.value, memory.available_bytes.value) == (2 << 20, 1 << 20)
    assert (memory.huge_pages_total.value, memory.huge_page_bytes.value) == (3, 2 << 20)
    assert memory.swap_total_bytes.reason == "has no SwapTotal"


def test_memory_without_the_file_has_its_reason(grow: Grow) -> None:
    assert probe_memory(HostFiles(grow({}))).total_bytes.reason == "does not exist"


def test_the_capture_of_a_power_machine(capture: Callable[[str], Path]) -> None:
    cpu = probe_cpu(HostFiles(capture("hwloc-sysfs/nvidiagpunumanodes.tar.bz2")))
    assert [node.id for node in cpu.numa_nodes if node.cpus.value] == [0, 8]
    assert [node.id for node in cpu.numa_nodes if node.cpus.value == ""] == [250, 251, 252, 253, 254, 255]
    assert cpu.model.value == "POWER9, altivec supported"
    assert cpu.sockets.value == 2


def test_the_capture_of_two_sockets(capture: Callable[[str], Path]) -> None:
    cpu = probe_cpu(HostFiles(capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2")))
    assert (cpu.sockets.value, cpu.cores.value, cpu.threads.value) == (2, 16, 16)
    assert [node.cpus.value for node in cpu.numa_nodes] == ["0-7", "8-15"]
    assert cpu.model.value == "Intel(R) Xeon(R) CPU E5-2680 0 @ 2.70GHz"
