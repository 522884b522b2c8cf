"""Stands for AMD's package amdsmi at its boundary: the names, shapes and units of release 7.0.2, two GPUs.

FAKE_AMDSMI in the environment chooses a broken one. It prints on import, as the real one may.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

_MODE = os.environ.get("FAKE_AMDSMI", "")
print("noise on stdout")
if _MODE == "no-library":
    raise KeyError("libamd_smi.so")


class AmdSmiLibraryException(Exception):
    def __str__(self) -> str:
        return "Error code:\n\t2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported"


class AmdSmiTemperatureType(IntEnum):
    EDGE = 0
    HOTSPOT = 1


class AmdSmiTemperatureMetric(IntEnum):
    CURRENT = 0


class AmdSmiMemoryPageStatus(IntEnum):
    RESERVED = 0
    PENDING = 1


def amdsmi_init() -> None:
    if _MODE == "no-driver":
        raise AmdSmiLibraryException


def amdsmi_get_processor_handles() -> list[int]:
    return [0, 1]


def amdsmi_get_rocm_version() -> tuple[bool, str]:
    return (True, "7.0.2")


def amdsmi_get_gpu_driver_info(_: int) -> dict[str, str]:
    return {"driver_name": "amdgpu", "driver_version": "6.14.14", "driver_date": "N/A"}


def amdsmi_get_gpu_device_bdf(handle: int) -> str:
    return ("0000:05:00.0", "0000:75:00.0")[handle]


def amdsmi_get_gpu_device_uuid(handle: int) -> str:
    return f"{handle}cff74a1-0000-1000-80ec-3bb6d5bb5d7e"


def amdsmi_get_gpu_enumeration_info(handle: int) -> dict[str, Any]:
    if _MODE == "old":
        raise AttributeError("module 'amdsmi' has no attribute 'amdsmi_get_gpu_enumeration_info'")
    # HIP counts these two the other way round.
    return {"drm_render": 128 + handle, "hip_id": 1 - handle, "hip_uuid": f"GPU-{handle}ff74a1ec3bb6d5b"}


def amdsmi_get_gpu_asic_info(_: int) -> dict[str, Any]:
    return {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002", "target_graphics_version": "gfx942"}


def amdsmi_get_gpu_vram_usage(handle: int) -> dict[str, int]:
    return {"vram_total": 196592, "vram_used": 283 + handle}


def amdsmi_get_gpu_activity(handle: int) -> dict[str, Any]:
    return {"gfx_activity": "N/A" if handle else 12, "umc_activity": 0, "mm_activity": "N/A"}


def amdsmi_get_gpu_process_list(handle: int) -> list[dict[str, Any]]:
    memory = {"gtt_mem": 1, "cpu_mem": 2, "vram_mem": 3 << 30}
    return [{"name": "N/A" if handle else "python3", "pid": 4321, "mem": 5, "memory_usage": memory}]


def amdsmi_get_gpu_ecc_enabled(_: int) -> int:
    return 0x5


def amdsmi_get_gpu_total_ecc_count(_: int) -> dict[str, int]:
    return {"correctable_count": 7, "uncorrectable_count": 1, "deferred_count": 0}


def amdsmi_get_gpu_bad_page_info(handle: int) -> list[dict[str, int]]:
    status = AmdSmiMemoryPageStatus.PENDING if handle else AmdSmiMemoryPageStatus.RESERVED
    return [{"value": 0, "page_address": 4096, "page_size": 4096, "status": int(status)}]


def amdsmi_get_gpu_xgmi_link_status(_: int) -> dict[str, Any]:
    return {"status": ["U", "U", "D", "X", "N/A"], "total_links": 5}


def amdsmi_get_temp_metric(handle: int, sensor: AmdSmiTemperatureType, _: AmdSmiTemperatureMetric) -> int:
    if sensor is AmdSmiTemperatureType.HOTSPOT and handle:
        raise AmdSmiLibraryException
    return 55 if sensor is AmdSmiTemperatureType.HOTSPOT else 33


def amdsmi_get_power_info(handle: int) -> dict[str, Any]:
    return {"socket_power": 0, "current_socket_power": "N/A" if handle else 140, "average_socket_power": 150}


def amdsmi_get_power_cap_info(_: int) -> dict[str, int]:
    return {"power_cap": 700_000_000, "default_power_cap": 750_000_000}


def amdsmi_get_pcie_info(_: int) -> dict[str, Any]:
    static = {"max_pcie_width": 16, "max_pcie_speed": 32000}
    return {"pcie_static": static, "pcie_metric": {"pcie_width": 8, "pcie_speed": 16000}}
