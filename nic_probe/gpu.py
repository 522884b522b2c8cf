"""The GPUs of the host: NVIDIA's through NVML, and whatever else the PCI bus lists.

The only file that touches `pynvml` (from nvidia-ml-py). A library or driver that is missing is a note with
its reason. NVML numbers GPUs in its own order, which CUDA_VISIBLE_DEVICES changes for a process: match them
by PCI address or UUID. Called by `host`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .reading import Reading
from .sysfs import HostFiles

__all__ = ["Gpu", "Gpus", "probe_gpus"]

T = TypeVar("T")
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD"}
_PCI = "sys/bus/pci/devices"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        pci: PCI address as sysfs writes it, such as 0000:18:00.0.
        index: NVML's number of it; unreadable when it is known from the PCI bus alone.
        memory_used_bytes: by everybody, also by processes that this one cannot see.
        compute_capability: such as 9.0.
    """

    pci: str
    vendor: str
    index: Reading[int]
    name: Reading[str]
    uuid: Reading[str]
    memory_total_bytes: Reading[int]
    memory_used_bytes: Reading[int]
    compute_capability: Reading[str]
    numa_node: Reading[int]


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs and what is known of the driver.

    Attributes:
        cuda_version: the newest CUDA that the driver speaks, such as 12.8.
        notes: one sentence for each source that said nothing.
    """

    devices: tuple[Gpu, ...]
    driver_version: Reading[str]
    cuda_version: Reading[str]
    notes: tuple[str, ...]


def probe_gpus(files: HostFiles) -> Gpus:
    """Returns the GPUs in the order of their PCI addresses; NVML is asked on the live machine alone."""
    on_bus = {gpu.pci: gpu for gpu in _pci_gpus(files)}
    gpus = _nvml_gpus() if files.live else _without_nvml("is not asked about a capture")
    named = {gpu.pci: _with_numa_node(files, gpu) for gpu in gpus.devices}
    devices = {**on_bus, **named}
    return replace(gpus, devices=tuple(devices[pci] for pci in sorted(devices)))


def _without_nvml(reason: str) -> Gpus:
    return Gpus((), Reading.unreadable("NVML", reason), Reading.unreadable("NVML", reason), (f"NVML {reason}.",))


def _nvml_gpus() -> Gpus:
    try:
        import pynvml
    except ImportError:
        return _without_nvml("cannot be asked because the Python package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _without_nvml(f"cannot be asked: {error}")

    def ask(function: Callable[[], T]) -> Reading[T]:
        try:
            return Reading(function(), "NVML")
        except pynvml.NVMLError as error:
            return Reading.unreadable("NVML", str(error).lower())

    try:
        count = ask(pynvml.nvmlDeviceGetCount)
        notes = [f"NVML does not count the GPUs: {count.reason}."] if not count.known else []
        devices: list[Gpu] = []
        for index in range(count.otherwise(0)):
            gpu = ask(lambda index=index: _nvml_gpu(pynvml, index, ask))
            if gpu.value is None:
                notes.append(f"NVML does not open GPU {index}: {gpu.reason}.")
            else:
                devices.append(gpu.value)
        cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        return Gpus(
            devices=tuple(devices),
            driver_version=ask(lambda: _text(pynvml.nvmlSystemGetDriverVersion())),
            cuda_version=cuda.convert(lambda number: f"{number // 1000}.{number % 1000 // 10}", "a CUDA version"),
            notes=tuple(notes),
        )
    finally:
        pynvml.nvmlShutdown()


def _nvml_gpu(pynvml: Any, index: int, ask: Callable[[Callable[[], Any]], Reading[Any]]) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    bus_id = _text(pynvml.nvmlDeviceGetPciInfo(handle).busId).lower()
    memory = ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    capability = ask(lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    return Gpu(
        pci=bus_id[4:] if len(bus_id) == 16 and bus_id.startswith("0000") else bus_id,
        vendor="NVIDIA",
        index=Reading(index, "NVML"),
        name=ask(lambda: _text(pynvml.nvmlDeviceGetName(handle))),
        uuid=ask(lambda: _text(pynvml.nvmlDeviceGetUUID(handle))),
        memory_total_bytes=memory.convert(lambda sizes: int(sizes.total), "a size"),
        memory_used_bytes=memory.convert(lambda sizes: int(sizes.used), "a size"),
        compute_capability=capability.convert(lambda pair: f"{pair[0]}.{pair[1]}", "a version"),
        numa_node=Reading.unreadable("NVML", "was not asked for NUMA nodes"),
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _with_numa_node(files: HostFiles, gpu: Gpu) -> Gpu:
    node = files.integer(f"{_PCI}/{gpu.pci}/numa_node")
    return replace(gpu, numa_node=node.convert(lambda number: number if number >= 0 else None, "a node"))


def _pci_gpus(files: HostFiles) -> list[Gpu]:
    found: list[Gpu] = []
    for pci in files.names(_PCI).otherwise(()):
        # 0x0300 VGA, 0x0302 3D controller, 0x0380 other display controller: compute GPUs report any of them.
        if files.text(f"{_PCI}/{pci}/class").otherwise("")[:6] not in {"0x0300", "0x0302", "0x0380"}:
            continue
        vendor = _VENDORS.get(files.text(f"{_PCI}/{pci}/vendor").otherwise(""))
        if vendor is None and files.exists(f"proc/driver/nvidia/gpus/{pci}"):
            vendor = "NVIDIA"
        if vendor is None:
            continue  # The display chips of management controllers and of desktop processors.
        no_driver = "is known from the PCI bus alone"
        gpu = Gpu(
            pci=pci,
            vendor=vendor,
            index=Reading.unreadable("NVML", no_driver),
            name=Reading.unreadable("NVML", no_driver),
            uuid=Reading.unreadable("NVML", no_driver),
            memory_total_bytes=Reading.unreadable("NVML", no_driver),
            memory_used_bytes=Reading.unreadable("NVML", no_driver),
            compute_capability=Reading.unreadable("NVML", no_driver),
            numa_node=Reading.unreadable("NVML", no_driver),
        )
        found.append(_with_numa_node(files, gpu))
    return found
