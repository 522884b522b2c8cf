"""The host's processors and NUMA nodes, from `/proc/cpuinfo` and `/sys/devices/system`.

Sockets and cores come from the topology files, which every architecture writes, the model and the
instruction sets from cpuinfo, which x86, Arm and POWER each write in their own way. Called by `host`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .reading import Reading
from .sources.files import HostFiles

__all__ = ["Cpu", "NumaNode", "probe_cpu"]

# The sets that decide how fast matrix products run, and in which number format.
_NOTABLE = (
    *(
        "sse4_2",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "avx_vnni",
    ),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svebf16", "sme"),
)


@dataclass(frozen=True, slots=True)
class NumaNode:
    """One NUMA node.

    Attributes:
        cpus: its CPUs as the kernel lists them, such as `0-7,16-23`; empty for a node of memory alone, which
            is how some hosts show the memory of a GPU.
    """

    id: int
    cpus: Reading[str]
    memory_bytes: Reading[int]


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors.

    Attributes:
        threads: CPUs that the scheduler sees.
        instruction_sets: those of `/proc/cpuinfo` that matter for matrix products; empty when it names none.
    """

    model: Reading[str]
    sockets: Reading[int]
    cores: Reading[int]
    threads: Reading[int]
    instruction_sets: tuple[str, ...]
    numa_nodes: tuple[NumaNode, ...]


def probe_cpu(files: HostFiles) -> Cpu:
    """Returns the processors of the host."""
    text = files.text("proc/cpuinfo")
    facts = _facts(text.otherwise(""))
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    named = facts.get("model name") or facts.get("cpu") or facts.get("cpu model") or facts.get("hardware")
    if named or not text.known:
        model = text.convert(lambda _: named, "a list of processors")
    else:
        model = Reading[str].unreadable(text.source, "names no model")
    return Cpu(
        model=model,
        instruction_sets=tuple(name for name in _NOTABLE if name in flags),
        numa_nodes=_numa_nodes(files),
        **_counts(files, text),
    )


def _facts(cpuinfo: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            facts.setdefault(key.strip().lower(), " ".join(value.split()))
    return facts


def _counts(files: HostFiles, cpuinfo: Reading[str]) -> dict[str, Reading[int]]:
    folder = "sys/devices/system/cpu"
    names = [name for name in files.names(folder).otherwise(()) if name[:3] == "cpu" and name[3:].isdecimal()]
    packages: set[int] = set()
    cores: set[tuple[int, int]] = set()
    threads = 0
    for name in names:
        package = files.integer(f"{folder}/{name}/topology/physical_package_id")
        core = files.integer(f"{folder}/{name}/topology/core_id")
        if package.value is None or core.value is None:
            continue  # A CPU that is switched off has no topology.
        threads += 1
        packages.add(package.value)
        cores.add((package.value, core.value))
    if threads:
        counted = {"sockets": len(packages), "cores": len(cores), "threads": threads}
        return {key: Reading(value, "/" + folder) for key, value in counted.items()}
    no_topology = Reading[int].unreadable("/" + folder, "has no topology files")
    listed = sum(line.partition(":")[0].strip() == "processor" for line in cpuinfo.otherwise("").splitlines())
    return {
        "sockets": no_topology,
        "cores": no_topology,
        "threads": cpuinfo.convert(lambda _: listed or None, "a list of processors"),
    }


def _numa_nodes(files: HostFiles) -> tuple[NumaNode, ...]:
    folder = "sys/devices/system/node"
    numbers = [
        int(name[4:]) for name in files.names(folder).otherwise(()) if name.startswith("node") and name[4:].isdecimal()
    ]
    return tuple(
        NumaNode(
            id=number,
            cpus=files.text(f"{folder}/node{number}/cpulist", may_be_empty=True),
            memory_bytes=files.text(f"{folder}/node{number}/meminfo").convert(_total_bytes, "memory counts"),
        )
        for number in sorted(numbers)
    )


def _total_bytes(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        words = line.replace(":", " ").split()  # Node 0 MemTotal: 16777216 kB
        if "MemTotal" in words and words[-1] == "kB":
            return int(words[-2]) * 1024
    return None
