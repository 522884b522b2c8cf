"""AMD GPUs as the kernel shows them, without any library of AMD's; works on captures too.

`/sys/class/kfd/kfd/topology/nodes/*` lists what computes, in the order in which ROCm numbers GPUs
(Documentation/gpu/amdgpu, drivers/gpu/drm/amd/amdkfd/kfd_topology.c), and the PCI device's folder has amdgpu's
own files. Called by `probe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["KfdNode", "amdgpu_readings", "gfx_name", "kfd_nodes"]

_NODES = "sys/class/kfd/kfd/topology/nodes"
# HSA_MEM_HEAP_TYPE_FB_PUBLIC and FB_PRIVATE: memory of the GPU that the CPU reaches, and that it does not.
_FRAME_BUFFER = {1, 2}
_MOST_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class KfdNode:
    """One GPU, or one partition of a GPU, that ROCm can compute on.

    Attributes:
        index: ROCm's number of it when no variable hides a GPU.
        pci: its address; partitions of one GPU share it.
        runtime_uuid: such as GPU-3c2b1a0987654321, as ROCR_VISIBLE_DEVICES takes it.
    """

    index: int
    pci: str
    architecture: Reading[str]
    runtime_uuid: Reading[str]
    memory_total_bytes: Reading[int]


def kfd_nodes(files: HostFiles) -> tuple[KfdNode, ...]:
    """Returns the nodes that are GPUs, in ROCm's order; none without the driver."""
    found: list[KfdNode] = []
    for name in files.names(_NODES).otherwise(()):
        path = f"{_NODES}/{name}/properties"
        properties = files.text(path).convert(_properties, "a list of properties").otherwise({})
        location, domain = properties.get("location_id", -1), properties.get("domain", 0)
        if properties.get("simd_count", 0) <= 0 or not 0 <= location <= 0xFFFF or domain >= 1 << 32:
            continue  # A CPU.
        found.append(
            KfdNode(
                index=len(found),
                pci=f"{domain:04x}:{location >> 8:02x}:{location >> 3 & 31:02x}.{location & 7:x}",
                architecture=_of(properties, path, "gfx_target_version").convert(gfx_name, "a gfx version"),
                runtime_uuid=_of(properties, path, "unique_id").convert(
                    lambda number: f"GPU-{number:016x}" if 0 < number < 1 << 64 else None, "an id"
                ),
                memory_total_bytes=_memory(files, f"{_NODES}/{name}/mem_banks"),
            )
        )
    return tuple(found)


def gfx_name(version: int) -> str | None:
    """Returns the name of an architecture, such as gfx942 for 90402 (major, minor, step of two digits each)."""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{step:x}" if major > 0 else None


def amdgpu_readings(files: HostFiles, folder: str, nodes: tuple[KfdNode, ...]) -> Mapping[str, Reading[Any]]:
    """Returns what the kernel says about one GPU, by the names of the fields of Gpu and GpuHealth.

    Args:
        files: the host.
        folder: the folder of its PCI device.
        nodes: its nodes; several when it is split into partitions.
    """
    readings: dict[str, Reading[Any]] = {
        "name": files.text(f"{folder}/product_name"),
        "memory_total_bytes": files.integer(f"{folder}/mem_info_vram_total").convert(_within(1, _MOST_BYTES), "a size"),
        "memory_used_bytes": files.integer(f"{folder}/mem_info_vram_used").convert(_within(0, _MOST_BYTES), "a size"),
        "busy_percent": files.integer(f"{folder}/gpu_busy_percent").convert(_within(0, 100), "a percentage"),
    }
    if nodes:
        readings["architecture"] = nodes[0].architecture
        readings["uuid"] = nodes[0].runtime_uuid
        banks = [node.memory_total_bytes for node in nodes]
        if not readings["memory_total_bytes"].known and all(bank.known for bank in banks):
            readings["memory_total_bytes"] = Reading(sum(bank.otherwise(0) for bank in banks), banks[0].source)
    for name in files.names(f"{folder}/hwmon").otherwise(())[:1]:
        sensors = f"{folder}/hwmon/{name}"
        # Millidegrees (Documentation/hwmon/sysfs-interface).
        heat = files.integer(f"{sensors}/temp1_input").convert(_within(-100_000, 250_000), "a temperature")
        readings["temperature_c"] = heat.convert(lambda value: value // 1000, "a temperature")
        power = _watts(files, f"{sensors}/power1_input")
        readings["power_w"] = power if power.known else _watts(files, f"{sensors}/power1_average")
        readings["power_limit_w"] = _watts(files, f"{sensors}/power1_cap")
        readings["power_limit_default_w"] = _watts(files, f"{sensors}/power1_cap_default")
    return readings


def _properties(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isascii() and pair[1].isdigit()}


def _of(properties: Mapping[str, int], path: str, key: str) -> Reading[int]:
    if key not in properties:
        return Reading.unreadable("/" + path, f"has no {key}")
    return Reading(properties[key], "/" + path)


def _within(least: int, most: int) -> Callable[[int], int | None]:
    return lambda value: value if least <= value <= most else None


def _watts(files: HostFiles, path: str) -> Reading[float]:
    microwatts = files.integer(path).convert(_within(0, 1 << 40), "a power")
    return microwatts.convert(lambda value: value / 1e6, "a power")


def _memory(files: HostFiles, folder: str) -> Reading[int]:
    total = 0
    for bank in files.names(folder).otherwise(()):
        properties = files.text(f"{folder}/{bank}/properties").convert(_properties, "properties").otherwise({})
        if properties.get("heap_type") in _FRAME_BUFFER:
            total += properties.get("size_in_bytes", 0)
    return (
        Reading(total, "/" + folder)
        if 0 < total <= _MOST_BYTES
        else Reading.unreadable("/" + folder, "lists no memory of the GPU")
    )
