"""Reads what lstopo wrote: the XML of hwloc 1, 2 and 3.

Objects nest: machine, packages and caches; NUMA nodes hang beside them (in hwloc 1 above them); I/O devices hang
below whatever they are near to. Sources: hwloc's topology-xml.c and topology-linux.c (August 2026). Pure; called
by `topology_file`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..gpus.address import pci_address
from ..gpus.gpu import Gpu
from ..netdev import Netdev
from ..nics.device import RdmaDevice
from ..reading import Reading
from ..topology.pci import PciDevice, PcieLink, PciTree
from .hwloc_nodes import HwlocNodes
from .hwloc_ports import hwloc_ports
from .safe_xml import XmlNode
from .xml_devices import (
    ROCE_VENDOR,
    Identity,
    bounded,
    bus_name,
    gpu,
    gpu_vendor,
    in_pci_order,
    is_rdma,
    natural,
    netdev,
    numbered,
    pci_device,
    rdma_device,
    unsaid,
)
from .xml_host import XmlHost

__all__ = ["read_hwloc"]

_PCI = ("Bridge", "PCIDev")
_IO = (*_PCI, "OSDev", "Misc")
_TYPE = re.compile(r"([0-9a-f]{4}) \[([0-9a-f]{4}):([0-9a-f]{4})\]", re.IGNORECASE)
_BUSES = re.compile(r"([0-9a-f]{4,8}):\[([0-9a-f]{2})-[0-9a-f]{2}\]", re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,18})(?:KiB)?", re.ASCII)
# Up to hwloc 2 a number, from hwloc 3 on bits.
_NETWORK, _OPENFABRICS = 2, 3
_NETWORK_BIT, _OPENFABRICS_BIT = 16, 32
_LAST_NUMBER = 5
# Fabrics with libraries of their own, which hwloc 2 counts as OpenFabrics.
_OTHER_FABRICS = ("BXI", "Slingshot")


def read_hwloc(root: XmlNode, source: str) -> XmlHost:
    """Returns the host below a `<topology>`."""
    reader = _Reader(root, source)
    gpus, notes = numbered(source, reader.gpus())
    rdma = sorted(reader.rdma(), key=lambda nic: natural(nic.name))
    addresses = [*(one.pci for one in gpus), *(nic.pci.value for nic in rdma if nic.pci.value is not None)]
    if not reader.functions:
        notes.append("The topology file shows no PCI devices; lstopo leaves them out with --no-io.")
    return XmlHost(
        source="hwloc",
        name=reader.host_name(),
        numa_nodes=reader.nodes.values,
        netdevs=tuple(sorted(reader.netdevs(), key=lambda one: natural(one.name))),
        rdma=tuple(rdma),
        gpus=gpus,
        pci=PciTree("hwloc", reader.tree(addresses)),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Function:
    """A PCI function or bridge of the file.

    Attributes:
        bridges: those above it, the outermost first.
        root: the name of the host bridge above; empty when the file shows none.
        near: the object that it is attached to.
    """

    node: XmlNode
    address: str
    identity: Identity
    bridges: tuple[str, ...]
    root: str
    near: XmlNode


class _Reader:
    def __init__(self, root: XmlNode, source: str) -> None:
        self._root = root
        self._source = source
        self._objects = [node for node in root.walk() if node.tag == "object"]
        devices = [node for node in self._objects if node.get("type") == "OSDev" and node.get("name")]
        self._bits = _are_types_bits(root, devices)
        self._networks = bounded((node for node in devices if self._is_network(node)), "interfaces")
        self._fabrics = bounded((node for node in devices if self._is_openfabrics(node)), "RDMA NICs")
        # By PCI address: the names of the interfaces, each with the number of its port if the file says it.
        self._interfaces: dict[str, dict[str, str]] = {}
        self.nodes = HwlocNodes(self._objects, source)
        self.functions: dict[str, _Function] = {}
        for node in self._objects:
            address = pci_address(node.get("pci_busid")) if node.get("type") in _PCI else None
            if address is not None and address not in self.functions:
                self.functions[address] = self._function(node, address)
        for node in self._networks:
            address = self._place_of(node)[0].value
            if address is not None:
                self._interfaces.setdefault(address, {})[node.get("name")] = _infos(node).get("Port", "")

    def host_name(self) -> Reading[str]:
        for node in [self._root, *self._objects[:1]]:
            if name := _infos(node).get("HostName"):
                return Reading(name, self._source)
        return unsaid(self._source)

    def gpus(self) -> list[Gpu]:
        endpoints = (one for one in self.functions.values() if one.node.get("type") == "PCIDev")
        vendors = ((one, gpu_vendor(one.identity)) for one in endpoints)
        return [
            self._described(gpu(self._source, one.address, vendor, self.nodes.of(one.near)), one.node)
            for one, vendor in bounded(((one, vendor) for one, vendor in vendors if vendor is not None), "GPUs")
        ]

    def netdevs(self) -> list[Netdev]:
        found: dict[str, Netdev] = {}
        for node in self._networks:
            pci, numa_node = self._place_of(node)
            infos = _infos(node)
            known: dict[str, Reading[Any]] = {}
            if infos.get("Address"):
                known["mac"] = Reading(infos["Address"], self._source)
            if _number(infos.get("Port", "")) > 0:
                known["dev_port"] = Reading(_number(infos["Port"]) - 1, self._source)
            found.setdefault(node.get("name"), netdev(self._source, node.get("name"), pci, numa_node, **known))
        return list(found.values())

    def rdma(self) -> list[RdmaDevice]:
        found: dict[str, RdmaDevice] = {}
        for node in self._fabrics:
            found.setdefault(node.get("name"), self._rdma_device(node))
        taken = {nic.pci.value for nic in found.values()}
        # Without any network object the file was written without them: functions alone must do.
        unlisted = not self._networks and not self._fabrics
        for address, function in self.functions.items():
            identity = function.identity
            ethernet = identity.vendor == ROCE_VENDOR and identity.class_code in (0x0200, 0x0280)
            if address not in taken and (is_rdma(identity) or (unlisted and ethernet)):
                name = bus_name(address, identity)
                pci, numa_node = Reading(address, self._source), self.nodes.of(function.near)
                found.setdefault(name, rdma_device(self._source, name, pci, numa_node, ()))
        return bounded(found.values(), "RDMA NICs")

    def tree(self, addresses: Sequence[str]) -> dict[str, PciDevice]:
        devices: dict[str, PciDevice] = {}
        for address in addresses:
            function = self.functions.get(address)
            for one in (*function.bridges, address) if function is not None else ():
                if one not in devices:
                    devices[one] = self._pci_device(self.functions[one])
        return dict(in_pci_order(devices.values()))

    def _is_openfabrics(self, node: XmlNode) -> bool:
        kind = _number(node.get("osdev_type"))
        if self._bits:
            return bool(kind & _OPENFABRICS_BIT)
        return kind == _OPENFABRICS and node.get("subtype") not in _OTHER_FABRICS

    def _is_network(self, node: XmlNode) -> bool:
        kind = _number(node.get("osdev_type"))
        return bool(kind & _NETWORK_BIT and not kind & _OPENFABRICS_BIT) if self._bits else kind == _NETWORK

    def _function(self, node: XmlNode, address: str) -> _Function:
        bridges: list[str] = []
        root = ""
        near = self._root
        for above in node.above():
            if above.tag != "object" or above.get("type") not in _IO:
                near = above
                break
            bridge = pci_address(above.get("pci_busid")) if above.get("type") in _PCI else None
            if bridge is not None:
                bridges.insert(0, bridge)
            elif above.get("bridge_type").startswith("0-"):
                buses = _BUSES.fullmatch(above.get("bridge_pci"))
                root = f"pci{int(buses[1], 16):04x}:{int(buses[2], 16):02x}" if buses else ""
        if bridges and not root:
            # The outermost bridge sits on the bus that the root is named after.
            root = "pci" + bridges[0].rpartition(":")[0]
        return _Function(node, address, _identity(node), tuple(bridges), root, near)

    def _pci_device(self, function: _Function) -> PciDevice:
        # Directly at a package without a host bridge between: the file was written without bridges.
        chain = (function.root, *function.bridges, function.address) if function.root else ()
        return pci_device(
            self._source,
            function.address,
            chain,
            function.identity,
            self.nodes.of(function.near),
            self._link(function.node),
        )

    def _link(self, node: XmlNode) -> PcieLink:
        text = node.get("pci_link_speed")
        known = re.fullmatch(r"\d{1,4}(\.\d+)?", text) is not None and float(text) > 0
        # Lanes and their speed cannot be told apart in it.
        whole = Reading(round(float(text), 2), self._source) if known else unsaid(self._source)
        unknown = unsaid(self._source)
        return PcieLink(unknown, unknown, unknown, unknown, whole)

    def _place_of(self, node: XmlNode) -> tuple[Reading[str], Reading[int]]:
        """Returns the PCI address of an OS device and its NUMA node."""
        parent = node.parent
        address = pci_address(parent.get("pci_busid")) if parent is not None else None
        if address is None or address not in self.functions:
            return unsaid(self._source, "has no PCI device"), unsaid(self._source, "has no PCI device")
        return Reading(address, self._source), self.nodes.of(self.functions[address].near)

    def _described(self, one: Gpu, node: XmlNode) -> Gpu:
        """Returns the GPU with what the libraries that lstopo asked said of it."""
        name = _infos(node).get("PCIDevice") or node.get("name")
        known: dict[str, Reading[Any]] = {"name": Reading(name, self._source)} if name else {}
        for device in node.each("object"):
            infos = _infos(device)
            for key, attribute in (("GPUModel", "name"), ("NVIDIAUUID", "uuid"), ("AMDUUID", "uuid")):
                if infos.get(key):
                    known[attribute] = Reading(infos[key], self._source)
            for key in ("OpenCLGlobalMemorySize", "CUDAGlobalMemorySize", "RSMIVRAMSize"):
                size = _SIZE.fullmatch(infos.get(key, ""))
                if size:
                    known["memory_total_bytes"] = Reading(int(size[1]) << 10, f"{self._source} {key}")
            for prefix, attribute in (("cuda", "cuda_index"), ("nvml", "nvml_index"), ("rsmi", "nvml_index")):
                digits = device.get("name").removeprefix(prefix)
                if digits != device.get("name") and digits.isdecimal() and len(digits) < 6:
                    known[attribute] = Reading(int(digits), f"{self._source} {device.get('name')}")
        return replace(one, **known)

    def _rdma_device(self, node: XmlNode) -> RdmaDevice:
        pci, numa_node = self._place_of(node)
        infos = _infos(node)
        interfaces = self._interfaces.get(pci.value or "", {})
        nic = rdma_device(self._source, node.get("name"), pci, numa_node, hwloc_ports(infos, interfaces, self._source))
        guid = infos.get("NodeGUID")
        return replace(
            nic,
            node_guid=Reading(guid, self._source) if guid else nic.node_guid,
            netdevs=Reading(tuple(interfaces), self._source) if pci.known else nic.netdevs,
        )


def _are_types_bits(root: XmlNode, devices: Sequence[XmlNode]) -> bool:
    """True when the file counts types of OS devices as hwloc 3 does; early versions of that say 2.0."""
    if any(_number(node.get("osdev_type")) > _LAST_NUMBER for node in devices):
        return True
    return _number(root.get("version").partition(".")[0]) >= 3


def _infos(node: XmlNode) -> dict[str, str]:
    return {info.get("name"): info.get("value") for info in node.each("info")}


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0


def _identity(node: XmlNode) -> Identity:
    found = _TYPE.match(node.get("pci_type"))
    return Identity(*(int(part, 16) for part in found.groups())) if found else Identity()
