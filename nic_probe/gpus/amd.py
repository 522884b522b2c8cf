"""Asks AMD SMI, through AMD's package `amdsmi` (7.0); the only file that imports it.

Runs in the child process alone: without the driver the package prints to stdout and raises KeyError on import,
and its library may hang or crash. Every call stands on its own. `kfd` reads what the kernel shows without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .address import pci_address
from .asked import asked, failure

__all__ = ["read_amd"]

_MIB = 1 << 20


def read_amd() -> Iterator[dict[str, Any]]:
    """Yields the head and the GPUs, or one piece with the reason why there is nothing."""
    try:
        smi: Any = import_module("amdsmi")
    except ModuleNotFoundError as error:
        name = "amdsmi" if error.name == "amdsmi" else f"{error.name}, which amdsmi needs,"
        yield {"absent": True, "reason": f"cannot be asked because the Python package {name} is not installed"}
        return
    except Exception as error:
        # Without the driver KeyError('libamd_smi.so'), with a partial library AttributeError.
        yield {"reason": f"cannot be asked: the package amdsmi does not import ({type(error).__name__}: {error})"}
        return
    try:
        smi.amdsmi_init()
        handles = smi.amdsmi_get_processor_handles()
    except Exception as error:
        yield {"reason": f"cannot be asked: {failure(error)}"}
        return
    first = handles[0] if handles else None
    yield {
        "driver_version": asked(lambda: smi.amdsmi_get_gpu_driver_info(first)["driver_version"])
        if handles
        else {"reason": "lists no GPU"},
        "runtime_version": asked(lambda: _rocm(smi)),
        "count": {"value": len(handles)},
    }
    for index, handle in enumerate(handles):
        yield {"gpu": {"index": {"value": index}, **_gpu(smi, handle)}}


def _rocm(smi: Any) -> str | None:
    found, version = smi.amdsmi_get_rocm_version()
    if not found:
        raise ValueError(version)
    return version


def _gpu(smi: Any, handle: Any) -> dict[str, Any]:
    """Returns the answers about one GPU by the names of the fields of Gpu, GpuHealth and PcieLink."""

    def field(function: str, *keys: str) -> Any:
        answer = getattr(smi, function)(handle)
        for key in keys:
            answer = answer[key]
        return answer

    def number(function: str, *keys: str, scale: float = 1) -> Any:
        value = field(function, *keys)
        return value if isinstance(value, str) else value * scale

    return {
        "pci": asked(lambda: pci_address(field("amdsmi_get_gpu_device_bdf"))),
        "name": asked(
            lambda: field("amdsmi_get_gpu_asic_info", "market_name"),
            lambda: field("amdsmi_get_gpu_board_info", "product_name"),
        ),
        "uuid": asked(lambda: field("amdsmi_get_gpu_device_uuid")),
        "runtime_uuid": asked(lambda: field("amdsmi_get_gpu_enumeration_info", "hip_uuid")),
        "runtime_index": asked(lambda: field("amdsmi_get_gpu_enumeration_info", "hip_id")),
        "memory_total_bytes": asked(
            lambda: number("amdsmi_get_gpu_vram_usage", "vram_total", scale=_MIB),
            lambda: number("amdsmi_get_gpu_vram_info", "vram_size", scale=_MIB),
        ),
        "memory_used_bytes": asked(lambda: number("amdsmi_get_gpu_vram_usage", "vram_used", scale=_MIB)),
        "architecture": asked(lambda: _gfx(field("amdsmi_get_gpu_asic_info", "target_graphics_version"))),
        "busy_percent": asked(lambda: field("amdsmi_get_gpu_activity", "gfx_activity")),
        "processes": asked(lambda: [_process(process) for process in field("amdsmi_get_gpu_process_list")]),
        "ecc_enabled": asked(lambda: bool(field("amdsmi_get_gpu_ecc_enabled"))),
        "ecc_uncorrected": asked(lambda: field("amdsmi_get_gpu_total_ecc_count", "uncorrectable_count")),
        "memory_retired_pending": asked(lambda: _pending(smi, field("amdsmi_get_gpu_bad_page_info"))),
        **_links(asked(lambda: field("amdsmi_get_gpu_xgmi_link_status", "status"))),
        "temperature_c": asked(
            *(lambda sensor=sensor: _temperature(smi, handle, sensor) for sensor in ("HOTSPOT", "EDGE"))
        ),
        "power_w": asked(
            *(
                lambda key=key: _watts(field("amdsmi_get_power_info", key))
                for key in ("socket_power", "current_socket_power", "average_socket_power")
            )
        ),
        # Caps are in microwatts.
        "power_limit_w": asked(lambda: number("amdsmi_get_power_cap_info", "power_cap", scale=1e-6)),
        "power_limit_default_w": asked(lambda: number("amdsmi_get_power_cap_info", "default_power_cap", scale=1e-6)),
        # Speeds are in megatransfers per second.
        "pcie_speed_gts": asked(lambda: number("amdsmi_get_pcie_info", "pcie_metric", "pcie_speed", scale=1e-3)),
        "pcie_width": asked(lambda: field("amdsmi_get_pcie_info", "pcie_metric", "pcie_width")),
        "pcie_max_speed_gts": asked(
            lambda: number("amdsmi_get_pcie_info", "pcie_static", "max_pcie_speed", scale=1e-3)
        ),
        "pcie_max_width": asked(lambda: field("amdsmi_get_pcie_info", "pcie_static", "max_pcie_width")),
    }


def _gfx(text: str) -> str | None:
    return None if text in {"gfx", "gfx0"} else text


def _watts(value: Any) -> float | None:
    # A model that has only some of the readings gives 0 or N/A for the others.
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _pending(smi: Any, pages: Any) -> bool:
    # A page is retired at the next reset when it is pending; without bad pages some releases return a text.
    if isinstance(pages, str):
        return False
    pending = smi.AmdSmiMemoryPageStatus.PENDING
    return any(page.get("status") == pending for page in pages)


def _temperature(smi: Any, handle: Any, sensor: str) -> Any:
    return smi.amdsmi_get_temp_metric(handle, smi.AmdSmiTemperatureType[sensor], smi.AmdSmiTemperatureMetric.CURRENT)


def _links(states: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if "value" not in states:
        return {"nvlinks_active": states, "nvlinks_inactive": states}
    return {
        "nvlinks_active": {"value": states["value"].count("U")},
        "nvlinks_inactive": {"value": states["value"].count("D")},
    }


def _process(process: dict[str, Any]) -> dict[str, Any]:
    name = process["name"]
    return {
        "pid": process["pid"],
        "name": {"reason": "is hidden"} if name == "N/A" else {"value": name},
        "memory_bytes": asked(lambda: process["memory_usage"]["vram_mem"], lambda: process["mem"]),
    }
