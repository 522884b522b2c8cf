"""The PCI devices that matter here and the way from the root to each of them.

Values, and a reader of the kernel's `/sys/bus/pci/devices` (Documentation/ABI/testing/sysfs-bus-pci). Readers
of topology files make the same values. Called by `host`; `paths` and `mooncake` judge what is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..netdev import pci_path
from ..patience import answers_within
from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["PciDevice", "PciTree", "PcieLink", "pci_numa_node", "probe_pci"]

_FOLDER = "sys/bus/pci/devices"
_NODES = "sys/devices/system/node"
_CLASSES = ("sys/class/infiniband", "sys/class/net", "sys/class/drm")
_FILES = (
    *("class", "vendor", "device", "numa_node"),
    *("current_link_speed", "current_link_width", "max_link_speed", "max_link_width"),
)
# Configuration space answers in microseconds; a device that was put to sleep may take long to wake up for it.
_LIMIT_S = 0.5
_BRIDGE = 0x0604
_FUNCTION = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]")
_ROOT = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")
# What PCI Express knows; a device that fell off the bus reads 63 lanes.
_WIDTHS = frozenset((1, 2, 4, 8, 12, 16, 32))


@dataclass(frozen=True, slots=True)
class PcieLink:
    """A PCI Express link, now and at most.

    Attributes:
        speed_gts: gigatransfers per second of one lane, such as 16.0.
        width: lanes.
        whole_gb_per_s: gigabytes per second of all lanes, where the source gives nothing finer.
    """

    speed_gts: Reading[float]
    width: Reading[int]
    max_speed_gts: Reading[float]
    max_width: Reading[int]
    whole_gb_per_s: Reading[float] = field(default_factory=lambda: Reading(None, "PCI", "is given by lane"))

    @property
    def gb_per_s(self) -> Reading[float]:
        """Gigabytes per second in one direction now, before the packets' own overhead.

        The share of the bits that carry data is 8/10 up to PCI Express 2, 128/130 from 3 to 5 and 242/256 after
        (PCI Express Base Specification, the encodings of the physical layer).
        """
        if self.whole_gb_per_s.known:
            return self.whole_gb_per_s

        def whole(speed: float) -> float | None:
            share = 8 / 10 if speed < 8 else 128 / 130 if speed < 64 else 242 / 256
            return round(speed * self.width.value * share / 8, 2) if self.width.value is not None else None

        return self.speed_gts.convert(whole, "a speed of a known number of lanes")


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI function.

    Attributes:
        address: as sysfs writes it, such as 0000:18:00.0.
        chain: addresses from the root down to this device: the root (`pci0000:16`), each bridge, the device
            itself; empty when the source shows no tree.
        path: the device's place below the root of the file system with all links followed, such as
            `sys/devices/pci0000:16/0000:16:01.0/0000:18:00.0`; made up from the chain for a topology file;
            empty when unknown.
        class_code: PCI class with subclass, such as 0x0302.
        vendor: such as 0x10de.
        numa_node: unreadable when the platform does not say.
        physical_function: the address of the function that this one is a virtual function of; unreadable
            for a physical function.
    """

    address: str
    chain: tuple[str, ...]
    path: str
    class_code: Reading[int]
    vendor: Reading[str]
    device: Reading[str]
    driver: Reading[str]
    numa_node: Reading[int]
    link: PcieLink
    physical_function: Reading[str]

    @property
    def bridges(self) -> tuple[str, ...]:
        """The bridges between the root and this device, the outermost first."""
        return self.chain[1:-1]


@dataclass(frozen=True, slots=True)
class PciTree:
    """The PCI functions by address: GPUs, RDMA NICs, and the bridges above them.

    Attributes:
        source: which source showed it: sysfs, hwloc or nccl.
        flattened: True when one node of the source stands for a whole switch, as in NCCL's files, and when
            host bridges are not told apart.
    """

    source: str = "sysfs"
    devices: Mapping[str, PciDevice] = field(default_factory=dict)
    flattened: bool = False


def probe_pci(files: HostFiles, addresses: Iterable[str]) -> PciTree:
    """Returns the functions at `addresses` and every bridge above them.

    An address that the kernel does not list is left out. A capture may hold plain folders where the kernel has
    links into its tree: such a device has an empty chain and an empty path. On a live host, of a device that does
    not answer in time nothing but its place is known. Raises nothing.
    """
    places = _places(files, addresses)
    read = [partial(_device, files, place) for place in places.values()]
    answers = answers_within(_LIMIT_S, read) if files.live else [task() for task in read]
    devices = {
        address: _silent(places[address]) if device is None else device
        for address, device in zip(places, answers, strict=True)
    }
    return PciTree(source="sysfs", devices=devices)


def pci_numa_node(files: HostFiles, folder: str) -> Reading[int]:
    """Returns the NUMA node of the PCI device whose files are in `folder`.

    In the file -1 means that nobody knows. A capture without that file may have the mask of near CPUs, which is
    the mask of a node.
    """
    return _numa_node(files, folder, files.text(f"{folder}/numa_node"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a function is: the folder of its files, and what `PciDevice` says of its path and its chain."""

    address: str
    folder: str
    path: str
    chain: tuple[str, ...]


def _places(files: HostFiles, addresses: Iterable[str]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    behind_classes: Mapping[str, str] | None = None
    for address in addresses:
        if address in places or not _FUNCTION.fullmatch(address):
            continue
        listed = f"{_FOLDER}/{address}"
        target = files.target(listed).value
        if target is None:
            # Some captures have the device classes without the bus.
            if behind_classes is None:
                behind_classes = _behind_classes(files)
            target = behind_classes.get(address)
            if target is None:
                continue
        chain = _chain(target, address)
        places[address] = _Place(address, target, "" if target == listed else target, chain)
        for depth in range(len(chain) - 1, 1, -1):
            target = target.rpartition("/")[0]
            bridge = chain[depth - 1]
            if bridge in places:
                break  # Those above it came with it.
            places[bridge] = _Place(bridge, target, target, chain[:depth])
    return places


def _chain(path: str, address: str) -> tuple[str, ...]:
    """Returns the root, the bridges and the device of a path; of roots below a root the last, which is the nearest."""
    parts = path.split("/")
    roots = [index for index, part in enumerate(parts) if _ROOT.fullmatch(part)]
    if not roots or parts[-1] != address or not all(_FUNCTION.fullmatch(part) for part in parts[roots[-1] + 1 :]):
        return ()
    return tuple(parts[roots[-1] :])


def _behind_classes(files: HostFiles) -> Mapping[str, str]:
    """Returns the place of each PCI function that a device of some class sits on."""
    places: dict[str, str] = {}
    for folder in _CLASSES:
        for name in files.names(folder).otherwise(()):
            path = pci_path(files, f"{folder}/{name}").value
            if path is not None:
                places.setdefault(path.rpartition("/")[2], path)
    return places


def _device(files: HostFiles, place: _Place) -> PciDevice:
    texts = files.texts(place.folder, only=_FILES)
    class_code = texts["class"].convert(lambda text: int(text, 0) >> 8, "a class")
    if class_code.value == _BRIDGE:
        physical = Reading[str].unreadable(f"/{place.folder}/physfn", "is a bridge")
    else:
        physical = files.link_name(f"{place.folder}/physfn")
    return PciDevice(
        address=place.address,
        chain=place.chain,
        path=place.path,
        class_code=class_code,
        vendor=texts["vendor"],
        device=texts["device"],
        driver=files.link_name(f"{place.folder}/driver"),
        numa_node=_numa_node(files, place.folder, texts["numa_node"]),
        link=PcieLink(
            speed_gts=texts["current_link_speed"].convert(_speed, "a speed in GT/s"),
            width=texts["current_link_width"].convert(_width, "a number of lanes"),
            max_speed_gts=texts["max_link_speed"].convert(_speed, "a speed in GT/s"),
            max_width=texts["max_link_width"].convert(_width, "a number of lanes"),
        ),
        physical_function=physical,
    )


def _silent(place: _Place) -> PciDevice:
    hung: Reading[Any] = Reading.unreadable("/" + place.folder, f"did not answer within {_LIMIT_S} s")
    return PciDevice(
        address=place.address,
        chain=place.chain,
        path=place.path,
        class_code=hung,
        vendor=hung,
        device=hung,
        driver=hung,
        numa_node=hung,
        link=PcieLink(hung, hung, hung, hung),
        physical_function=hung,
    )


def _numa_node(files: HostFiles, folder: str, text: Reading[str]) -> Reading[int]:
    node = text.convert(lambda number: int(number) if int(number) >= 0 else None, "a node")
    if text.known:
        return node
    near = files.text(f"{folder}/local_cpus").convert(_mask, "a mask of CPUs")
    for name in files.names(_NODES).otherwise(()) if near.value else ():
        mask = files.text(f"{_NODES}/{name}/cpumap").convert(_mask, "a mask of CPUs").value
        if mask == near.value and name[:4] == "node" and name[4:].isdecimal():
            return Reading(int(name[4:]), near.source)
    return node


def _speed(text: str) -> float | None:
    """`16.0 GT/s PCIe`, of older kernels `8 GT/s`, or `Unknown`."""
    found = re.match(r"(\d{1,4}(?:\.\d{1,3})?) GT/s", text)
    return float(found[1]) or None if found else None


def _width(text: str) -> int | None:
    lanes = int(text)
    return lanes if lanes in _WIDTHS else None


def _mask(text: str) -> int:
    return int(text.replace(",", ""), 16)
