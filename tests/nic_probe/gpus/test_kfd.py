"""AMD GPUs in trees of kernel files that stand for those of a host with amdgpu."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.kfd import amdgpu_readings, gfx_name, kfd_nodes
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree

Grow = Callable[[Mapping[str, str]], Path]

NODES = "sys/class/kfd/kfd/topology/nodes"
DEVICE = "sys/bus/pci/devices/0000:05:00.0"


def properties(**values: int) -> str:
    return "".join(f"{name} {value}\n" for name, value in values.items())


def gpu(location: int, **values: int) -> str:
    return properties(simd_count=1216, gfx_target_version=90402, location_id=location, **values)


def host(files: Mapping[str, str]) -> HostFiles:
    return HostFiles(MemoryTree({path: text.encode() for path, text in files.items()}))


def test_gpus_are_numbered_without_the_cpus_and_in_natural_order() -> None:
    nodes = kfd_nodes(
        host(
            {
                f"{NODES}/0/properties": properties(cpu_cores_count=96, simd_count=0),
                f"{NODES}/10/properties": gpu(0x0500),
                f"{NODES}/2/properties": gpu(0x75A1, domain=1, unique_id=0x0FF74A1EC3BB6D5B),
                f"{NODES}/3/name": "no properties",
            }
        )
    )
    assert [(node.index, node.pci) for node in nodes] == [(0, "0001:75:14.1"), (1, "0000:05:00.0")]
    assert nodes[0].architecture.value == "gfx942"
    assert nodes[0].runtime_uuid.value == "GPU-0ff74a1ec3bb6d5b"
    assert nodes[1].runtime_uuid.reason == "has no unique_id"


def test_memory_is_that_of_the_frame_buffer() -> None:
    (node,) = kfd_nodes(
        host(
            {
                f"{NODES}/1/properties": gpu(0x500),
                f"{NODES}/1/mem_banks/0/properties": properties(heap_type=1, size_in_bytes=100),
                f"{NODES}/1/mem_banks/1/properties": properties(heap_type=2, size_in_bytes=20),
                f"{NODES}/1/mem_banks/2/properties": properties(heap_type=4, size_in_bytes=3),
            }
        )
    )
    assert node.memory_total_bytes.value == 120


@pytest.mark.parametrize(
    ("version", "name"),
    [(90402, "gfx942"), (90010, "gfx90a"), (90012, "gfx90c"), (90500, "gfx950"), (110001, "gfx1101"), (0, None)],
)
def test_architectures(version: int, name: str | None) -> None:
    assert gfx_name(version) == name


def test_what_amdgpu_shows_of_a_gpu() -> None:
    files = host(
        {
            f"{NODES}/1/properties": gpu(0x500, unique_id=5),
            f"{DEVICE}/product_name": "AMD Instinct MI300X OAM\n",
            f"{DEVICE}/mem_info_vram_total": "206141652992\n",
            f"{DEVICE}/mem_info_vram_used": "296747008\n",
            f"{DEVICE}/gpu_busy_percent": "7\n",
            f"{DEVICE}/hwmon/hwmon4/temp1_input": "41000\n",
            f"{DEVICE}/hwmon/hwmon4/power1_average": "140000000\n",
            f"{DEVICE}/hwmon/hwmon4/power1_cap": "750000000\n",
        }
    )
    readings = amdgpu_readings(files, DEVICE, kfd_nodes(files))
    assert {name: reading.value for name, reading in readings.items()} == {
        "name": "AMD Instinct MI300X OAM",
        "memory_total_bytes": 206141652992,
        "memory_used_bytes": 296747008,
        "busy_percent": 7,
        "architecture": "gfx942",
        "uuid": "GPU-0000000000000005",
        "temperature_c": 41,
        "power_w": 140.0,
        "power_limit_w": 750.0,
        "power_limit_default_w": None,
    }


def test_the_memory_of_partitions_adds_up() -> None:
    files = host(
        {
            **{f"{NODES}/{number}/properties": gpu(0x500) for number in (1, 2)},
            **{
                f"{NODES}/{number}/mem_banks/0/properties": properties(heap_type=1, size_in_bytes=96 << 30)
                for number in (1, 2)
            },
        }
    )
    assert amdgpu_readings(files, DEVICE, kfd_nodes(files))["memory_total_bytes"].value == 192 << 30


def test_a_host_without_the_driver(grow: Grow) -> None:
    assert kfd_nodes(HostFiles(grow({"sys/kernel/x": ""}))) == ()


NUMBER = st.one_of(st.integers(-5, 1 << 70).map(str), st.just("9" * 4400), st.text(max_size=5))
KEYS = ["simd_count", "location_id", "domain", "gfx_target_version", "unique_id", "heap_type", "size_in_bytes"]
PROPERTIES = st.lists(st.tuples(st.sampled_from(KEYS), NUMBER)).map(
    lambda pairs: "\n".join(f"{key} {value}" for key, value in pairs)
)
FILES = ["mem_info_vram_total", "mem_info_vram_used", "gpu_busy_percent", "hwmon/hwmon0/temp1_input"]
FILES += ["hwmon/hwmon0/power1_input", "hwmon/hwmon0/power1_cap", "product_name"]


@given(st.dictionaries(st.sampled_from(["0", "1", "x"]), PROPERTIES), st.dictionaries(st.sampled_from(FILES), NUMBER))
def test_no_tree_is_too_odd(nodes: dict[str, str], device: dict[str, str]) -> None:
    files = host(
        {
            **{f"{NODES}/{name}/properties": f"simd_count 4\nlocation_id 1280\n{text}" for name, text in nodes.items()},
            **{f"{NODES}/{name}/mem_banks/0/properties": text for name, text in nodes.items()},
            **{f"{DEVICE}/{name}": text for name, text in device.items()},
        }
    )
    readings = amdgpu_readings(files, DEVICE, kfd_nodes(files))
    assert all(reading.known or reading.reason for reading in readings.values())
