"""The GPUs that the kernel's files show, whether or not a library knows them: PCI bus and NVIDIA's /proc.

Works on captures, also on those that hold little of a PCI device but its class. Called by `probe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..patience import answers_within
from ..reading import Reading
from ..sources.files import HostFiles
from ..topology.pci import pci_numa_node
from .address import pci_address, pci_order
from .gpu import Vendor

__all__ = ["PCI", "BusGpu", "bus_gpus", "nvidia_driver"]

PCI = "sys/bus/pci/devices"
_NVIDIA = "proc/driver/nvidia"
# 0x0300 VGA, 0x0302 3D controller, 0x0380 other display controller, 0x1200 processing accelerator.
_CLASSES = {
    "0x10de": ({"0x0300", "0x0302", "0x0380"}, Vendor.NVIDIA),
    "0x1002": ({"0x0300", "0x0302", "0x0380", "0x1200"}, Vendor.AMD),
    "0x8086": ({"0x0380"}, Vendor.INTEL),
    "0x19e5": ({"0x1200"}, Vendor.HUAWEI),
}
_ANY_CLASS = frozenset().union(*(classes for classes, _ in _CLASSES.values()))
# The graphics inside Intel's processors are always this function.
_INTEL_INSIDE = "0000:00:02.0"
# How long the driver's files are waited for.
_LIMIT_S = 0.8


@dataclass(frozen=True, slots=True)
class BusGpu:
    """One GPU in the kernel's files.

    Attributes:
        folder: its PCI device's folder.
        model: vendor and device id, such as 0x10de:0x2335; empty when a capture has none.
        numa_node: of the CPUs near it; the node that a GPU's own memory may be is another.
        excluded: the driver was told to leave it alone.
        physical_function: the GPU that it is a virtual function of.
    """

    pci: str
    vendor: Vendor
    folder: str
    model: str
    driver: Reading[str]
    numa_node: Reading[int]
    name: Reading[str]
    uuid: Reading[str]
    excluded: bool
    physical_function: Reading[str]


def bus_gpus(files: HostFiles) -> tuple[BusGpu, ...]:
    """Returns the GPUs of the kernel's files in the order of their addresses."""
    of_nvidia = {
        pci: name for name in files.names(f"{_NVIDIA}/gpus").otherwise(()) if (pci := pci_address(name)) is not None
    }
    of_driver = _driver_facts(files, list(of_nvidia.values()))
    memory_nodes = {_memory_node(status) for _, status in of_driver.values()} - {None}
    unlisted = (Reading[Mapping[str, str]].unreadable(f"/{_NVIDIA}/gpus", "does not list this GPU"),)
    found: dict[str, Vendor] = dict.fromkeys(of_nvidia, Vendor.NVIDIA)
    for pci in files.names(PCI).otherwise(()):
        class_code = files.text(f"{PCI}/{pci}/class").otherwise("")[:6].lower()
        if class_code not in _ANY_CLASS or pci in found or pci_address(pci) != pci:
            continue
        classes, vendor = _CLASSES.get(files.text(f"{PCI}/{pci}/vendor").otherwise("").lower(), ((), None))
        if vendor is not None and class_code in classes and (vendor is not Vendor.INTEL or pci != _INTEL_INSIDE):
            found[pci] = vendor
    return tuple(
        _gpu(files, pci, found[pci], of_driver.get(of_nvidia.get(pci, ""), unlisted)[0], memory_nodes)
        for pci in sorted(found, key=pci_order)
    )


def nvidia_driver(files: HostFiles) -> tuple[Reading[str], Reading[bool]]:
    """Returns the version of NVIDIA's kernel driver, and whether it exports GPU memory as dma-buf.

    Only the open kernel modules do (NVIDIA's GPUDirect RDMA documentation); Linux has to be 5.12 or later.
    """
    version = files.text(f"{_NVIDIA}/version")
    first = version.convert(lambda text: text.splitlines()[0], "a version")
    number = first.convert(_version, "a version")
    if not number.known:
        number = files.text("sys/module/nvidia/version")
    return number, first.convert(lambda text: "open kernel module" in text.lower(), "a version")


def _driver_facts(files: HostFiles, names: list[str]) -> dict[str, tuple[Reading[Mapping[str, str]], ...]]:
    """Returns by name what NVIDIA's driver says of each GPU, and of the memory that it may have as a node."""

    def read(name: str) -> tuple[Reading[Mapping[str, str]], ...]:
        paths = (f"{_NVIDIA}/gpus/{name}/information", f"{_NVIDIA}/gpus/{name}/numa_status")
        return tuple(files.text(path).convert(_facts, "facts") for path in paths)

    tasks = [lambda name=name: read(name) for name in names]
    answers = answers_within(_LIMIT_S, tasks) if files.live and tasks else [task() for task in tasks]
    hangs = Reading[Mapping[str, str]].unreadable(f"/{_NVIDIA}/gpus", "does not answer")
    return {name: answer or (hangs, hangs) for name, answer in zip(names, answers, strict=True)}


def _gpu(
    files: HostFiles, pci: str, vendor: Vendor, said: Reading[Mapping[str, str]], memory_nodes: set[int | None]
) -> BusGpu:
    folder = f"{PCI}/{pci}"
    node = pci_numa_node(files, folder)
    if node.value in memory_nodes:
        node = Reading.unreadable(node.source, f"reads {node.value}, which is the memory of a GPU")
    ids = [files.text(f"{folder}/{name}").otherwise("").lower() for name in ("vendor", "device")]
    return BusGpu(
        pci=pci,
        vendor=vendor,
        folder=folder,
        model=":".join(ids) if all(ids) else "",
        driver=files.link_name(f"{folder}/driver"),
        numa_node=node,
        name=said.convert(lambda facts: facts.get("Model"), "a list with a model"),
        # Until a GPU is first used its UUID is full of question marks.
        uuid=said.convert(lambda facts: _whole(facts.get("GPU UUID", "")), "a list with a UUID"),
        excluded=said.otherwise({}).get("GPU Excluded", "").lower() == "yes",
        physical_function=files.link_name(f"{folder}/physfn"),
    )


def _whole(uuid: str) -> str | None:
    return uuid if uuid and "?" not in uuid else None


def _facts(text: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _memory_node(status: Reading[Mapping[str, str]]) -> int | None:
    node = status.otherwise({}).get("Node", "")
    return int(node) if node.isascii() and node.isdigit() and len(node) < 6 else None


def _version(line: str) -> str | None:
    # NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Mon Jan 27 ...
    return next((word for word in line.split() if word[0].isdigit() and "." in word), None)
