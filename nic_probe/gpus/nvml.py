"""Asks NVML, through `pynvml` (from nvidia-ml-py); the only file that imports it for facts of a GPU.

Runs in the child process alone, since a broken driver may hang or crash here. Every call stands on its own: what
one driver release lacks hides nothing else. Yields a head and then one piece for each GPU, so that a driver
that takes seconds to wake up every GPU still gives those that it had woken up.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from .address import pci_address
from .asked import asked, failure

__all__ = ["read_nvml"]

_MOST_GPUS = 256
_GIGATRANSFERS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
_COMPUTE_MODES = {0: "Default", 1: "ExclusiveThread", 2: "Prohibited", 3: "ExclusiveProcess"}
_FABRIC = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}
# nvml.h, nvmlClocksEventReasons; GpuIdle (1) holds nothing down that anybody wants.
_CLOCKS = {
    0x2: "ApplicationsClocksSetting",
    0x4: "SwPowerCap",
    0x8: "HwSlowdown",
    0x10: "SyncBoost",
    0x20: "SwThermalSlowdown",
    0x40: "HwThermalSlowdown",
    0x80: "HwPowerBrakeSlowdown",
    0x100: "DisplayClockSetting",
}
_UNCORRECTED, _VOLATILE = 1, 0


def read_nvml() -> Iterator[dict[str, Any]]:
    """Yields the head and the GPUs, or one piece with the reason why there is nothing."""
    try:
        import pynvml as nvml
    except ImportError:
        yield {"reason": "cannot be asked because the Python package nvidia-ml-py is not installed"}
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        yield {"reason": f"cannot be asked: {error}".rstrip(".")}
        return
    count = asked(nvml.nvmlDeviceGetCount)
    yield {
        "driver_version": asked(nvml.nvmlSystemGetDriverVersion),
        "runtime_version": asked(
            lambda: _cuda(nvml.nvmlSystemGetCudaDriverVersion_v2()),
            lambda: _cuda(nvml.nvmlSystemGetCudaDriverVersion()),
        ),
        "count": count,
    }
    for index in range(min(count.get("value", 0), _MOST_GPUS)):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            yield {"note": f"NVML does not open GPU {index}: {failure(error)}."}
            continue
        yield {"gpu": {"index": {"value": index}, **_gpu(nvml, handle)}}


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    """Returns the answers about one GPU by the names of the fields of Gpu, GpuHealth and PcieLink."""

    def call(name: str, *arguments: Any) -> Any:
        return getattr(nvml, name)(handle, *arguments)

    sizes = asked(
        lambda: _sizes(call("nvmlDeviceGetMemoryInfo", nvml.nvmlMemory_v2)),
        lambda: _sizes(call("nvmlDeviceGetMemoryInfo")),
    )
    mig = asked(lambda: _mig(nvml, handle))
    return {
        "pci": asked(lambda: pci_address(_text(call("nvmlDeviceGetPciInfo").busId))),
        "name": asked(lambda: _text(call("nvmlDeviceGetName"))),
        "uuid": asked(lambda: _text(call("nvmlDeviceGetUUID"))),
        "memory_total_bytes": _part(sizes, 0),
        "memory_used_bytes": _part(sizes, 1),
        "architecture": asked(lambda: "{}.{}".format(*call("nvmlDeviceGetCudaComputeCapability"))),
        "busy_percent": asked(lambda: int(call("nvmlDeviceGetUtilizationRates").gpu)),
        "processes": asked(lambda: _processes(nvml, handle)),
        "ecc_enabled": asked(lambda: bool(call("nvmlDeviceGetCurrentEccMode"))),
        "ecc_uncorrected": asked(lambda: call("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE)),
        # Pages are retired up to Volta, rows are remapped since Ampere; each is "not supported" on the other.
        "memory_retired_pending": asked(
            lambda: bool(call("nvmlDeviceGetRemappedRows")[2]),
            lambda: bool(call("nvmlDeviceGetRetiredPagesPendingStatus")),
        ),
        "throttle_reasons": asked(
            lambda: _clocks(call("nvmlDeviceGetCurrentClocksEventReasons")),
            lambda: _clocks(call("nvmlDeviceGetCurrentClocksThrottleReasons")),
        ),
        "compute_mode": asked(lambda: _COMPUTE_MODES.get(call("nvmlDeviceGetComputeMode"))),
        "persistence": asked(lambda: bool(call("nvmlDeviceGetPersistenceMode"))),
        "mig": mig,
        "mig_uuids": asked(lambda: _mig_uuids(nvml, handle) if mig.get("value") else []),
        "fabric": asked(lambda: _fabric(nvml, handle)),
        **_nvlinks(nvml, handle),
        "bar1_total_bytes": asked(lambda: int(call("nvmlDeviceGetBAR1MemoryInfo").bar1Total)),
        "temperature_c": asked(
            lambda: call("nvmlDeviceGetTemperature", 0), lambda: call("nvmlDeviceGetTemperatureV", 0)
        ),
        "power_w": asked(lambda: call("nvmlDeviceGetPowerUsage") / 1e3),
        "power_limit_w": asked(lambda: call("nvmlDeviceGetPowerManagementLimit") / 1e3),
        "power_limit_default_w": asked(lambda: call("nvmlDeviceGetPowerManagementDefaultLimit") / 1e3),
        "pcie_speed_gts": asked(lambda: _GIGATRANSFERS.get(call("nvmlDeviceGetCurrPcieLinkGeneration"))),
        "pcie_width": asked(lambda: call("nvmlDeviceGetCurrPcieLinkWidth")),
        "pcie_max_speed_gts": asked(lambda: _GIGATRANSFERS.get(call("nvmlDeviceGetMaxPcieLinkGeneration"))),
        "pcie_max_width": asked(lambda: call("nvmlDeviceGetMaxPcieLinkWidth")),
    }


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _sizes(memory: Any) -> list[int]:
    # The second version's `used` leaves out what the driver keeps for itself.
    return [int(memory.total), int(memory.used)]


def _part(answer: dict[str, Any], index: int) -> dict[str, Any]:
    return {"value": answer["value"][index]} if "value" in answer else answer


def _clocks(bits: int) -> list[str]:
    return [word for bit, word in _CLOCKS.items() if bits & bit]


def _mig(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError_NotSupported:
        return False  # This model cannot be split.


def _mig_uuids(nvml: Any, handle: Any) -> list[str]:
    uuids: list[str] = []
    for index in range(min(nvml.nvmlDeviceGetMaxMigDeviceCount(handle), 16)):
        try:
            uuids.append(_text(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))))
        except nvml.NVMLError:
            continue  # The numbers have gaps.
    return uuids


def _fabric(nvml: Any, handle: Any) -> str | None:
    info: Any = nvml.c_nvmlGpuFabricInfoV_t()
    try:
        nvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    except nvml.NVMLError_FunctionNotFound:
        info = nvml.c_nvmlGpuFabricInfo_t()
        nvml.nvmlDeviceGetGpuFabricInfo(handle, ctypes.byref(info))
    state = _FABRIC.get(info.state)
    return f"completed with error {info.status}" if state == "completed" and info.status else state


def _nvlinks(nvml: Any, handle: Any) -> dict[str, dict[str, Any]]:
    states: list[int] = []
    reason = "has no links"
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            states.append(nvml.nvmlDeviceGetNvLinkState(handle, link))
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument) as error:
            reason = failure(error)  # A link that this model does not have.
        except nvml.NVMLError as error:
            reason = failure(error)
            break
    if not states:
        return {key: {"reason": reason} for key in ("nvlinks_active", "nvlinks_inactive")}
    active = sum(state == 1 for state in states)
    return {"nvlinks_active": {"value": active}, "nvlinks_inactive": {"value": len(states) - active}}


def _processes(nvml: Any, handle: Any) -> list[dict[str, Any]]:
    def listed(*names: str) -> Callable[[], list[Any]]:
        def ask() -> list[Any]:
            for name in names:
                try:
                    return getattr(nvml, name)(handle)
                except nvml.NVMLError_FunctionNotFound:
                    continue  # An old driver has the older version alone.
            raise nvml.NVMLError_FunctionNotFound

        return ask

    found = {process.pid: process for process in listed(*_versions("Compute"))()}
    for kind in ("Graphics", "MPSCompute"):
        others = asked(listed(*_versions(kind))).get("value", [])
        found = {process.pid: process for process in others} | found
    return [
        {
            "pid": pid,
            "name": _command(pid),
            "memory_bytes": asked(lambda process=process: process.usedGpuMemory),
        }
        for pid, process in sorted(found.items())
    ]


def _versions(kind: str) -> tuple[str, str]:
    return (f"nvmlDeviceGet{kind}RunningProcesses_v3", f"nvmlDeviceGet{kind}RunningProcesses_v2")


def _command(pid: int) -> dict[str, Any]:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return {"value": file.read(64).strip()}
    except OSError:
        return {"reason": "is hidden: the process belongs to another container or has ended"}
