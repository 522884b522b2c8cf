"""The GPUs of a host: what the kernel's files show and what the vendors' libraries say, in one value.

On the live host the libraries are asked by a child process, for 2 s at most; a capture brings their answers along.
A library that is missing, hangs or lies is a note. GPUs are matched by their PCI addresses. Called by `host`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ..patience import answers_within
from ..reading import Reading
from ..sources.files import HostFiles
from ..topology.pci import PcieLink
from .address import pci_order
from .answers import Answers, GpuAnswer, LibraryAnswer, read_answers
from .bus import PCI, BusGpu, bus_gpus, nvidia_driver
from .gpu import Gpu, GpuHealth, Gpus, Vendor
from .kfd import KfdNode, amdgpu_readings, kfd_nodes
from .libraries import GpuLibraries, start_gpu_child
from .visible import runtime_indices, visible_indices

__all__ = ["probe_gpus"]

_LIBRARIES = {Vendor.NVIDIA: "NVML", Vendor.AMD: "AMD SMI", Vendor.HUAWEI: "npu-smi", Vendor.INTEL: "Level Zero"}
_DRIVERS = {Vendor.NVIDIA: "nvidia", Vendor.AMD: "amdgpu"}
# What no library is asked for, so that the kernel's reason is the one to show.
_KERNEL_ALONE = {"dma_buf"}
# How long amdgpu's files are waited for; the libraries are asked meanwhile.
_LIMIT_S = 0.8
_UNKNOWN = Reading[Any].unreadable("", "is not known yet")


def probe_gpus(files: HostFiles, environ: Mapping[str, str], child: GpuLibraries | None = None) -> Gpus:
    """Returns the GPUs in the order of their PCI addresses. Raises nothing; blocks for less than 2 s.

    Args:
        files: the host's files. A capture's facts may hold the libraries' answers under "gpus".
        environ: the variables that a worker would inherit; also the environment in which libraries are loaded.
        child: what asks the libraries, when the caller has started it before; by default it is started here.
    """
    if child is None and files.live:
        child = start_gpu_child(environ)
    on_bus = {gpu.pci: gpu for gpu in bus_gpus(files)}
    nodes = kfd_nodes(files)
    drivers = nvidia_driver(files)
    readings = _kernel_readings(files, list(on_bus.values()), nodes, drivers[1])
    answers = read_answers(files.facts().get("gpus") if child is None else child.collect())
    for pci, answer in answers.gpus.items():
        if answer.vendor is Vendor.NVIDIA:
            readings.setdefault(pci, {"dma_buf": drivers[1]})
    devices = [
        _gpu(pci, on_bus.get(pci), answers.gpus.get(pci), readings.get(pci, {}), answers)
        for pci in sorted({**on_bus, **answers.gpus}, key=pci_order)
    ]
    numbered = _numbered(devices, environ, on_bus, answers, nodes, files.live)
    return Gpus(
        devices=numbered,
        driver_version=_driver_version(files, numbered, answers, drivers[0]),
        runtime_version=_runtime_version(files, numbered, answers),
        notes=(*_notes(numbered, on_bus, answers, files), *_partition_notes(nodes), *answers.notes),
    )


def _kernel_readings(
    files: HostFiles, gpus: list[BusGpu], nodes: tuple[KfdNode, ...], dma_buf: Reading[bool]
) -> dict[str, Mapping[str, Reading[Any]]]:
    """Returns by address what the kernel's files say of each GPU, by the names of the fields of Gpu and GpuHealth."""
    readings: dict[str, Mapping[str, Reading[Any]]] = {
        gpu.pci: {"name": gpu.name, "uuid": gpu.uuid, "dma_buf": dma_buf} for gpu in gpus if gpu.vendor is Vendor.NVIDIA
    }
    of_amd = [gpu for gpu in gpus if gpu.vendor is Vendor.AMD]
    tasks = [
        lambda gpu=gpu: amdgpu_readings(files, gpu.folder, tuple(node for node in nodes if node.pci == gpu.pci))
        for gpu in of_amd
    ]
    # A read of amdgpu's files may be a question to the GPU.
    answers = answers_within(_LIMIT_S, tasks) if files.live and tasks else [task() for task in tasks]
    unknown = Reading[bool].unreadable("kernel", "is told by no file of amdgpu")
    return readings | {gpu.pci: {"dma_buf": unknown, **(said or {})} for gpu, said in zip(of_amd, answers, strict=True)}


def _gpu(
    pci: str, bus: BusGpu | None, answer: GpuAnswer | None, readings: Mapping[str, Reading[Any]], answers: Answers
) -> Gpu:
    vendor = bus.vendor if bus is not None else answer.vendor if answer is not None else Vendor.NVIDIA
    missing = _silence(vendor, answers)

    def pick(name: str) -> Reading[Any]:
        said, shown = answer.readings.get(name) if answer else None, readings.get(name)
        for reading in (said, shown):
            if reading is not None and reading.known:
                return reading
        if said is not None:
            return said
        if name in _KERNEL_ALONE:
            return shown or Reading.unreadable("sysfs", "does not list this GPU")
        return missing

    return Gpu(
        pci=pci,
        vendor=vendor,
        name=pick("name"),
        uuid=pick("uuid"),
        nvml_index=pick("index"),
        cuda_index=_UNKNOWN,
        visible_index=_UNKNOWN,
        memory_total_bytes=pick("memory_total_bytes"),
        memory_used_bytes=pick("memory_used_bytes"),
        architecture=pick("architecture"),
        numa_node=bus.numa_node if bus is not None else Reading.unreadable("sysfs", "does not list this GPU"),
        busy_percent=pick("busy_percent"),
        processes=pick("processes"),
        health=GpuHealth(**{field.name: pick(field.name) for field in fields(GpuHealth)}),
        pcie_link=PcieLink(
            pick("pcie_speed_gts"), pick("pcie_width"), pick("pcie_max_speed_gts"), pick("pcie_max_width")
        ),
    )


def _silence(vendor: Vendor, answers: Answers) -> Reading[Any]:
    """Returns why the vendor's library says nothing about a GPU."""
    name = _LIBRARIES[vendor]
    library = answers.library(name)
    if library is None:
        return Reading.unreadable(name, "was not asked")
    return Reading.unreadable(name, library.reason or "does not list this GPU")


def _numbered(
    devices: list[Gpu],
    environ: Mapping[str, str],
    on_bus: Mapping[str, BusGpu],
    answers: Answers,
    nodes: tuple[KfdNode, ...],
    live: bool,
) -> tuple[Gpu, ...]:
    known = {node.pci: node.index for node in reversed(nodes)}
    uuids = {gpu.pci: gpu.uuid.value for gpu in devices if gpu.vendor is Vendor.NVIDIA and gpu.uuid.value}
    uuids |= {node.pci: node.runtime_uuid.value for node in reversed(nodes) if node.runtime_uuid.value}
    for pci, answer in answers.gpus.items():
        if answer.vendor is Vendor.HUAWEI and (index := answer.readings["index"].value) is not None:
            known[pci] = index
        if (index := answer.readings["runtime_index"].value) is not None:
            known[pci] = index
        if (uuid := answer.readings["runtime_uuid"].value) is not None:
            uuids[pci] = uuid
    indices = runtime_indices(
        devices,
        environ,
        models=_models(devices, on_bus),
        uncounted=_uncounted(devices, on_bus, answers, live),
        known=known,
    )
    ordered = [replace(gpu, cuda_index=indices[gpu.pci]) for gpu in devices]
    migs = {pci: answer.readings["mig_uuids"].otherwise(()) for pci, answer in answers.gpus.items()}
    visible = visible_indices(ordered, environ, uuids=uuids, migs=migs)
    return tuple(replace(gpu, visible_index=visible[gpu.pci]) for gpu in ordered)


def _models(devices: list[Gpu], on_bus: Mapping[str, BusGpu]) -> Mapping[str, str]:
    """Returns what tells models apart: names when all are known, else the PCI ids."""
    nvidia = [gpu for gpu in devices if gpu.vendor is Vendor.NVIDIA]
    if all(gpu.name.known for gpu in nvidia):
        return {gpu.pci: gpu.name.otherwise("") for gpu in nvidia}
    return {pci: gpu.model for pci, gpu in on_bus.items()}


def _uncounted(devices: list[Gpu], on_bus: Mapping[str, BusGpu], answers: Answers, live: bool) -> dict[str, str]:
    """Returns the GPUs that no runtime numbers, with the reason."""
    answered = {answer.vendor for answer in answers.gpus.values()}
    reasons: dict[str, str] = {}
    for gpu in devices:
        bus = on_bus.get(gpu.pci)
        driver = _DRIVERS.get(gpu.vendor)
        if gpu.pci in answers.gpus or bus is None:
            continue
        if gpu.vendor in answered:
            reasons[gpu.pci] = f"does not see it, as {_LIBRARIES[gpu.vendor]} does not"
        elif bus.excluded:
            reasons[gpu.pci] = "does not see it, since the driver was told to leave it alone"
        elif bus.driver.known and driver and bus.driver.value != driver:
            reasons[gpu.pci] = f"does not see it, since it is bound to the driver {bus.driver.value}"
        elif live and driver and not bus.driver.known:
            reasons[gpu.pci] = "does not see it, since no kernel driver is bound to it"
    return reasons


def _vendors(devices: tuple[Gpu, ...]) -> list[Vendor]:
    return [vendor for vendor in Vendor if any(gpu.vendor is vendor for gpu in devices)]


def _driver_version(
    files: HostFiles, devices: tuple[Gpu, ...], answers: Answers, of_nvidia: Reading[str]
) -> Reading[str]:
    known: list[Reading[str]] = []
    for vendor in _vendors(devices) or [Vendor.NVIDIA]:
        known += [library.driver_version for library in _of_vendor(answers, vendor)]
        if vendor is Vendor.NVIDIA:
            known.append(of_nvidia)
        elif vendor is Vendor.AMD:
            known.append(files.text("sys/module/amdgpu/version"))
    return _first(known, "driver")


def _runtime_version(files: HostFiles, devices: tuple[Gpu, ...], answers: Answers) -> Reading[str]:
    known: list[Reading[str]] = []
    for vendor in _vendors(devices) or [Vendor.NVIDIA]:
        known += [library.runtime_version for library in _of_vendor(answers, vendor)]
        if vendor is Vendor.AMD:
            known.append(files.text("opt/rocm/.info/version"))
    return _first(known, "runtime")


def _of_vendor(answers: Answers, vendor: Vendor) -> list[LibraryAnswer]:
    return [
        library
        for library in answers.libraries
        if library.vendor is vendor or any(gpu.vendor is vendor for gpu in library.gpus)
    ]


def _first(readings: list[Reading[str]], what: str) -> Reading[str]:
    nothing = Reading[str].unreadable(what, "was not asked for its version")
    return next((reading for reading in readings if reading.known), readings[0] if readings else nothing)


def _notes(devices: tuple[Gpu, ...], on_bus: Mapping[str, BusGpu], answers: Answers, files: HostFiles) -> list[str]:
    vendors = _vendors(devices)
    notes: list[str] = []
    if not answers.libraries and not files.live:
        notes.append("No GPU library is asked about a capture, and this one holds no answer of any.")
    for library in answers.libraries:
        wanted = library.vendor in vendors if vendors else library.name == "NVML" or not library.absent
        if library.reason and (wanted or library.vendor is None):
            notes.append(f"{library.name} {library.reason}.")
        notes += _count_notes(library, [gpu for gpu in on_bus.values() if gpu.vendor is library.vendor])
    strange = [pci for pci in answers.gpus if pci not in on_bus]
    if strange and files.names(PCI).otherwise(()):
        notes.append(f"A library names GPUs at {', '.join(strange)}, where the PCI bus has none.")
    for gpu in on_bus.values():
        notes += _bus_notes(gpu, gpu.pci in answers.gpus)
    return notes


def _count_notes(library: LibraryAnswer, on_bus: list[BusGpu]) -> list[str]:
    claimed, named = library.count.value, len(library.gpus)
    if claimed is None:
        return []
    notes: list[str] = []
    if claimed > named:
        notes.append(f"{library.name} counts {claimed} GPUs and describes {named}.")
    if library.vendor is not None and 0 < named < len(on_bus):
        notes.append(
            f"{library.name} lists {named} of the {len(on_bus)} GPUs of {library.vendor} on the PCI bus; "
            "the others are not handed to this container, or not usable."
        )
    return notes


def _partition_notes(nodes: tuple[KfdNode, ...]) -> list[str]:
    parts = Counter(node.pci for node in nodes)
    return [
        f"{pci} is split into {times} partitions, each of which ROCm counts as a GPU; the first is shown."
        for pci, times in parts.items()
        if times > 1
    ]


def _bus_notes(gpu: BusGpu, answered: bool) -> list[str]:
    notes: list[str] = []
    wanted = _DRIVERS.get(gpu.vendor)
    if gpu.driver.value == "vfio-pci":
        notes.append(f"{gpu.pci} is bound to vfio-pci: it is passed through to a virtual machine and not usable here.")
    elif wanted and gpu.driver.known and gpu.driver.value != wanted and not answered:
        notes.append(f"{gpu.pci} is bound to {gpu.driver.value} instead of {wanted}, and not usable for computing.")
    if gpu.excluded:
        notes.append(f"{gpu.pci} is excluded: the driver was told to leave it alone.")
    if gpu.physical_function.known:
        notes.append(f"{gpu.pci} is a virtual function of {gpu.physical_function.value}.")
    return notes
