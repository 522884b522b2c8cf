"""Reads the topology XML of NCCL and RCCL (NCCL_TOPO_DUMP_FILE, NCCL_TOPO_FILE).

One `<cpu>` is a NUMA node, one nested `<pci>` a whole switch, and a `<net>` whatever the transport that wrote the
file uses: an RDMA port, or with sockets an ordinary interface. Sources: NCCL's graph/xml.cc, net_socket.cc and
net_ib/init.cc (June 2026). Pure; called by `topology_file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..cpu import NumaNode
from ..gpus.address import pci_address
from ..gpus.gpu import Gpu, Vendor
from ..netdev import Netdev
from ..nics.device import RdmaDevice, RdmaPort
from ..reading import Reading
from ..topology.pci import PciDevice, PcieLink, PciTree
from .safe_xml import XmlNode
from .xml_devices import (
    ROCE_VENDOR,
    Identity,
    bit_mask,
    bounded,
    bus_name,
    cpu_list,
    gpu,
    gpu_vendor,
    in_pci_order,
    is_rdma,
    natural,
    netdev,
    numbered,
    pci_device,
    rdma_device,
    rdma_port,
    unsaid,
)
from .xml_host import XmlHost

__all__ = ["read_nccl"]

_HEX = re.compile(r"(?:0x)?([0-9a-f]{1,16})", re.IGNORECASE)
_SPEED = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) GT/s.*")
_GCN = re.compile(r"(?:gfx)?([0-9a-f]{3,5})(?::.*)?")
# HIP numbers this one 910.
_GCN_NAMES = {"910": "90a"}
_ETHERNET = (0x0200, 0x0280)
_MAX_NOTES = 5


def read_nccl(root: XmlNode, source: str) -> XmlHost:
    """Returns the host below a `<system>`; of several hosts the first."""
    reader = _Reader(root, source)
    gpus, notes = numbered(source, reader.gpus())
    rdma = sorted(reader.rdma(), key=lambda nic: natural(nic.name))
    addresses = [*(one.pci for one in gpus), *(nic.pci.value for nic in rdma if nic.pci.value is not None)]
    return XmlHost(
        source="nccl",
        name=unsaid(source),
        numa_nodes=reader.numa_nodes(),
        netdevs=tuple(sorted(reader.netdevs(), key=lambda one: natural(one.name))),
        rdma=tuple(rdma),
        gpus=gpus,
        pci=PciTree("nccl", reader.tree(addresses), flattened=True),
        notes=(*reader.notes, *notes),
    )


@dataclass(frozen=True, slots=True)
class _Function:
    """A PCI function or switch of the file.

    Attributes:
        above: the CPU and the switches above it, the outermost first.
    """

    node: XmlNode
    address: str
    identity: Identity
    above: tuple[str, ...]
    numa_node: Reading[int]


@dataclass(frozen=True, slots=True)
class _Net:
    """A `<net>`: one port of a NIC.

    Attributes:
        function: the PCI function that it sits on; None without one.
    """

    node: XmlNode
    name: str
    function: _Function | None

    @property
    def rdma(self) -> bool:
        """True for a port of an RDMA NIC.

        NCCL's socket transport writes the number of the device as its GUID, and 0 as its port; RDMA ports count
        from 1.
        """
        if self.function is not None and is_rdma(self.function.identity):
            return True
        guid, port = _hex(self.node.get("guid")), self.node.get("port")
        return guid != 0 and not (port in ("", "0") and self.node.get("dev") == str(guid))


class _Reader:
    def __init__(self, root: XmlNode, source: str) -> None:
        self._source = source
        self.notes: list[str] = []
        self._functions: dict[str, _Function] = {}
        self._nets: list[_Net] = []
        hosts = list(dict.fromkeys(cpu.get("host_hash") for cpu in root.each("cpu")))
        self._cpus = [cpu for cpu in root.each("cpu") if cpu.get("host_hash") == hosts[0]]
        if len(hosts) > 1:
            self.notes.append(f"The topology file describes {len(hosts)} hosts; this is the first.")
        for cpu in self._cpus:
            number = cpu.get("numaid")
            known = number.isdecimal() and len(number) < 6
            numa_node = Reading(int(number), source) if known else unsaid(source, f"reads {number[:20]!r}, not a node")
            self._collect(cpu, (f"cpu{number[:6] or '-1'}",), numa_node)
        if len(self.notes) > _MAX_NOTES:
            self.notes[_MAX_NOTES:] = [f"There are {len(self.notes) - _MAX_NOTES} more oddities like these."]
        tags = {node.tag for node in root.walk()}
        amd = "xgmi" in tags or any(node.get("gcn") for node in root.walk() if node.tag == "gpu")
        self._maker = Vendor.AMD if amd else Vendor.NVIDIA

    def numa_nodes(self) -> tuple[NumaNode, ...]:
        nodes: dict[int, NumaNode] = {}
        for cpu in self._cpus:
            number = cpu.get("numaid")
            if number.isdecimal() and len(number) < 6:
                mask = bit_mask(cpu, "affinity")
                cpus = unsaid(self._source) if mask is None else Reading(cpu_list(mask), self._source)
                nodes.setdefault(int(number), NumaNode(int(number), cpus, unsaid(self._source)))
        return tuple(nodes[number] for number in sorted(nodes))

    def gpus(self) -> list[Gpu]:
        vendors = ((one, self._gpu_vendor(one)) for one in self._functions.values())
        found: list[Gpu] = []
        for function, vendor in bounded(((one, vendor) for one, vendor in vendors if vendor is not None), "GPUs"):
            one = gpu(self._source, function.address, vendor, function.numa_node)
            described = next(function.node.each("gpu"), None)
            found.append(one if described is None else self._described(one, described))
        return found

    def netdevs(self) -> list[Netdev]:
        nets = {net.name: net for net in reversed(self._nets) if not net.rdma}
        found: list[Netdev] = []
        for name, net in bounded(nets.items(), "interfaces"):
            speed = _whole(net.node.get("speed"))
            known: dict[str, Reading[Any]] = {"speed_mbps": Reading(speed, self._source)} if speed else {}
            found.append(netdev(self._source, name, *self._place(net.function), **known))
        return found

    def rdma(self) -> list[RdmaDevice]:
        ports: dict[str, dict[int, RdmaPort]] = {}
        places: dict[str, _Function | None] = {}
        for net in self._nets:
            if net.rdma:
                places.setdefault(net.name, net.function)
                port = self._port(net)
                ports.setdefault(net.name, {}).setdefault(port.number, port)
        taken = {place.address for place in places.values() if place is not None}
        for address, function in self._functions.items():
            identity = function.identity
            ethernet = identity.vendor == ROCE_VENDOR and identity.class_code in _ETHERNET
            if address not in taken and (is_rdma(identity) or (ethernet and not self._nets)):
                places.setdefault(bus_name(address, identity), function)
        return [
            rdma_device(self._source, name, *self._place(function), [*ports.get(name, {}).values()])
            for name, function in bounded(places.items(), "RDMA NICs")
        ]

    def tree(self, addresses: list[str]) -> dict[str, PciDevice]:
        devices: dict[str, PciDevice] = {}
        for address in addresses:
            for one in (*self._functions[address].above[1:], address):
                function = self._functions[one]
                if one not in devices:
                    devices[one] = pci_device(
                        self._source,
                        one,
                        (*function.above, one),
                        function.identity,
                        function.numa_node,
                        self._link(function.node),
                    )
        return dict(in_pci_order(devices.values()))

    def _collect(self, cpu: XmlNode, root: tuple[str, ...], numa_node: Reading[int]) -> None:
        waiting: list[tuple[XmlNode, tuple[str, ...], _Function | None]] = [(cpu, root, None)]
        while waiting:
            node, above, function = waiting.pop()
            if node.tag == "pci":
                function = self._function(node, above, numa_node)
                above = above if function is None else (*above, function.address)
            self._nets.extend(_Net(net, name, function) for net in node.each("net") for name in _names(net))
            waiting.extend((child, above, function) for child in reversed(node.children) if child.tag in ("pci", "nic"))

    def _function(self, node: XmlNode, above: tuple[str, ...], numa_node: Reading[int]) -> _Function | None:
        address = pci_address(node.get("busid"))
        if address is None or address in self._functions:
            what = "more than once" if address else "which is no PCI address"
            self.notes.append(f"The topology file names a PCI device {node.get('busid')[:40]!r}, {what}.")
            return None
        function = _Function(node, address, _identity(node), above, numa_node)
        self._functions[address] = function
        return function

    def _gpu_vendor(self, function: _Function) -> Vendor | None:
        vendor = gpu_vendor(function.identity, self._maker)
        if vendor is None and next(function.node.each("gpu"), None) is not None:
            # NCCL says that it is one, whatever its class.
            vendor = gpu_vendor(replace(function.identity, class_code=0x0380), self._maker) or self._maker
        return vendor

    def _place(self, function: _Function | None) -> tuple[Reading[str], Reading[int]]:
        if function is None:
            # NCCL hangs such devices below the first CPU, wherever they are.
            return unsaid(self._source, "has no PCI device"), unsaid(self._source, "has no PCI device")
        return Reading(function.address, self._source), function.numa_node

    def _port(self, net: _Net) -> RdmaPort:
        port = rdma_port(self._source, _whole(net.node.get("port")) or 1)
        # Of merged NICs the file has the sum.
        speed = _whole(net.node.get("speed")) if net.name == net.node.get("name") else 0
        return replace(port, rate_gbps=Reading(speed / 1000, self._source)) if speed else port

    def _link(self, node: XmlNode) -> PcieLink:
        unknown = unsaid(self._source)
        found = _SPEED.fullmatch(node.get("link_speed"))
        speed = float(found[1]) if found else 0.0
        width = _whole(node.get("link_width"))
        return PcieLink(
            speed_gts=unsaid(self._source, "the topology file says what the link can do, not what it does"),
            width=unsaid(self._source, "the topology file says what the link can do, not what it does"),
            max_speed_gts=Reading(speed, self._source) if speed else unknown,
            max_width=Reading(width, self._source) if width else unknown,
        )

    def _described(self, one: Gpu, node: XmlNode) -> Gpu:
        known: dict[str, Reading[Any]] = {}
        if node.get("dev").isdecimal():
            # NCCL asks NVML for it; the CUDA runtime counts alike with CUDA_DEVICE_ORDER=PCI_BUS_ID.
            number = Reading(_whole(node.get("dev")), f"{self._source} <gpu dev>")
            known |= {"nvml_index": number, "cuda_index": number}
        architecture = _architecture(one.vendor, node)
        if architecture:
            known["architecture"] = Reading(architecture, self._source)
        return replace(one, **known)


def _names(net: XmlNode) -> Iterator[str]:
    """Yields the NICs of a `<net>`; NCCL joins the names of those that it merges, such as `mlx5_0+mlx5_1`."""
    yield from (name for name in net.get("name").split("+") if name)


def _architecture(vendor: Vendor, node: XmlNode) -> str:
    gcn = _GCN.fullmatch(node.get("gcn"))
    if vendor is Vendor.AMD:
        return "gfx" + _GCN_NAMES.get(gcn[1], gcn[1]) if gcn else ""
    level = _whole(node.get("sm"))
    return f"{level // 10}.{level % 10}" if level else ""


def _identity(node: XmlNode) -> Identity:
    # 0x030200, and 0x03 where NCCL itself could not read the class.
    digits = node.get("class").lower().removeprefix("0x")
    class_code = _hex(digits.ljust(4, "0")[:4]) if 0 < len(digits) <= 6 else 0
    return Identity(class_code, _hex(node.get("vendor")) & 0xFFFF, _hex(node.get("device")) & 0xFFFF)


def _hex(text: str) -> int:
    found = _HEX.fullmatch(text)
    return int(found[1], 16) if found else 0


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
