"""Devices as values from the little that a topology file says of them.

The rules that both kinds of file share: what is a GPU and what an RDMA NIC by its PCI identity, what an unnamed
one is called, how GPUs count. Pure; called by `hwloc_xml` and `nccl_xml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..gpus.address import pci_order
from ..gpus.gpu import Gpu, GpuHealth, Vendor
from ..netdev import Netdev
from ..nics.device import PortCounters, RdmaDevice, RdmaPort
from ..reading import Reading
from ..topology.pci import PciDevice, PcieLink
from .safe_xml import XmlError, XmlNode

__all__ = [
    "ROCE_VENDOR",
    "Identity",
    "bit_mask",
    "bounded",
    "bus_name",
    "cpu_list",
    "gpu",
    "gpu_vendor",
    "in_pci_order",
    "is_rdma",
    "natural",
    "netdev",
    "numbered",
    "pci_device",
    "rdma_device",
    "rdma_port",
    "unsaid",
]

T = TypeVar("T")

# Mellanox: its Ethernet functions are RDMA NICs.
ROCE_VENDOR = 0x15B3
_AMAZON = 0x1D0F
_EFA = range(0xEFA0, 0xEFB0)
_INFINIBAND = 0x0207
_ETHERNET = (0x0200, 0x0280)
_VENDORS = {0x10DE: Vendor.NVIDIA, 0x1002: Vendor.AMD, 0x8086: Vendor.INTEL, 0x19E5: Vendor.HUAWEI}
# PCI classes of each vendor's accelerators: VGA, 3D and other display controllers, processing accelerators.
_GPU_CLASSES = {
    Vendor.NVIDIA: (0x0300, 0x0302, 0x0380),
    Vendor.AMD: (0x0300, 0x0302, 0x0380, 0x1200),
    Vendor.INTEL: (0x0380,),
    Vendor.HUAWEI: (0x1200,),
}
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+")
# Twice what Linux can be built for.
_MAX_CPUS = 1 << 14
# More than any host has, and few enough for every pair to be looked at.
_MOST = {"GPUs": 256, "RDMA NICs": 1024, "interfaces": 4096}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a PCI function is; 0 stands for what the file does not say.

    Attributes:
        class_code: class with subclass, such as 0x0302.
    """

    class_code: int = 0
    vendor: int = 0
    device: int = 0


def unsaid(source: str, what: str = "the topology file does not say") -> Reading[Any]:
    """Returns a reading of something that such files do not hold."""
    return Reading.unreadable(source, what)


def gpu_vendor(identity: Identity, otherwise: Vendor | None = None) -> Vendor | None:
    """Returns whose GPU a function is, None when it is no GPU.

    Args:
        identity: the function's.
        otherwise: the vendor to take for a display controller of which the file says none.
    """
    vendor = _VENDORS.get(identity.vendor) if identity.vendor else otherwise
    return vendor if vendor is not None and identity.class_code in _GPU_CLASSES[vendor] else None


def is_rdma(identity: Identity) -> bool:
    """True for a function that is an RDMA NIC whatever its driver: InfiniBand and Amazon's EFA."""
    efa = identity.vendor == _AMAZON and identity.device in _EFA and identity.class_code in _ETHERNET
    return identity.class_code == _INFINIBAND or efa


def bus_name(address: str, identity: Identity) -> str:
    """Returns the name of an RDMA NIC of which the file gives none.

    An EFA has the name that rdma-core's `rdma_rename` gives by place, as on Amazon's systems: `rdmap85s0` for
    0000:55:00.0. Other drivers keep names that depend on the order of discovery, so those get their address.
    """
    if identity.vendor != _AMAZON:
        return address
    domain, bus, place = address.split(":")
    slot, _, function = place.partition(".")
    far = f"P{int(domain, 16)}" if int(domain, 16) else ""
    return f"rdma{far}p{int(bus, 16)}s{int(slot, 16)}" + (f"f{int(function, 16)}" if function != "0" else "")


def pci_device(
    source: str,
    address: str,
    chain: tuple[str, ...],
    identity: Identity,
    numa_node: Reading[int],
    link: PcieLink,
) -> PciDevice:
    """Returns a function; its path is the one that the kernel would give to such a chain."""

    def known(number: int, digits: int) -> Reading[str]:
        return Reading(f"0x{number:0{digits}x}", source) if number else unsaid(source)

    return PciDevice(
        address=address,
        chain=chain,
        path="/".join(("sys/devices", *chain)) if chain else "",
        class_code=Reading(identity.class_code, source) if identity.class_code else unsaid(source),
        vendor=known(identity.vendor, 4),
        device=known(identity.device, 4),
        driver=unsaid(source),
        numa_node=numa_node,
        link=link,
        physical_function=unsaid(source),
    )


def gpu(source: str, address: str, vendor: Vendor, numa_node: Reading[int]) -> Gpu:
    """Returns a GPU of which only the place is known."""
    return Gpu(
        pci=address,
        vendor=vendor,
        name=unsaid(source),
        uuid=unsaid(source),
        nvml_index=unsaid(source),
        cuda_index=unsaid(source),
        visible_index=unsaid(source),
        memory_total_bytes=unsaid(source),
        memory_used_bytes=unsaid(source),
        architecture=unsaid(source),
        numa_node=numa_node,
        busy_percent=unsaid(source),
        processes=unsaid(source),
        health=GpuHealth.unreadable(source, "the topology file does not say"),
    )


def numbered(source: str, gpus: Iterable[Gpu]) -> tuple[tuple[Gpu, ...], list[str]]:
    """Returns the GPUs in the order of the bus, each with its numbers, and what to note about those.

    Numbers that the file gives are kept when they tell the GPUs of a vendor apart. Else the GPUs count in the
    order of the bus, which is NVML's order, and the CUDA runtime's for GPUs of one kind. Nothing is known of
    variables that would hide one, so a process is taken to see all.
    """
    ordered = sorted(gpus, key=lambda one: pci_order(one.pci))
    notes: list[str] = []
    for vendor in dict.fromkeys(one.vendor for one in ordered):
        places = [place for place, one in enumerate(ordered) if one.vendor == vendor]
        for attribute in ("nvml_index", "cuda_index"):
            given = [getattr(ordered[place], attribute).value for place in places]
            known = [number for number in given if number is not None]
            if known and len(set(known)) == len(known):
                continue
            if known:
                notes.append(f"The file gives several {vendor} GPUs one number, so they count in the order of the bus.")
            for number, place in enumerate(places):
                counted = Reading(number, f"{source}: order of the PCI addresses")
                ordered[place] = replace(ordered[place], **{attribute: counted})
    seen = [replace(one, visible_index=one.cuda_index) for one in ordered]
    return tuple(seen), list(dict.fromkeys(notes))


def netdev(source: str, name: str, pci: Reading[str], numa_node: Reading[int], **known: Reading[Any]) -> Netdev:
    """Returns an interface; `known` are further attributes of it by name."""
    plain = Netdev(
        name=name,
        mac=unsaid(source),
        mtu=unsaid(source),
        speed_mbps=unsaid(source),
        operstate=unsaid(source),
        addresses=unsaid(source),
        driver=unsaid(source),
        pci=pci,
        numa_node=numa_node,
        loopback=name == "lo",
    )
    return replace(plain, **known)


def rdma_port(source: str, number: int) -> RdmaPort:
    """Returns a port of which only the number is known."""
    return RdmaPort(
        number=number,
        state=unsaid(source),
        physical_state=unsaid(source),
        rate_gbps=unsaid(source),
        rate=unsaid(source),
        link_layer=unsaid(source),
        lid=unsaid(source),
        sm_lid=unsaid(source),
        mtu=unsaid(source),
        pkeys=(),
        gid_table_length=unsaid(source),
        gids=(),
        netdevs=(),
        counters=PortCounters(unsaid(source), unsaid(source), source, {}),
        usable=None,
        why_not="the topology file does not say",
    )


def rdma_device(
    source: str, name: str, pci: Reading[str], numa_node: Reading[int], ports: Sequence[RdmaPort]
) -> RdmaDevice:
    """Returns an RDMA NIC; unusable when every one of its ports is known not to be ACTIVE, else that is not known."""
    down = [port for port in ports if port.state.known and not port.active]
    unusable = bool(down) and len(down) == len(ports)
    return RdmaDevice(
        name=name,
        node_type=unsaid(source),
        board=unsaid(source),
        firmware=unsaid(source),
        node_guid=unsaid(source),
        driver=unsaid(source),
        pci=pci,
        numa_node=numa_node,
        netdevs=unsaid(source),
        physical_function=unsaid(source),
        bond=unsaid(source),
        management=unsaid(source),
        verbs_node=unsaid(source),
        ports=tuple(ports),
        usable=False if unusable else None,
        why_not=f"port {down[0].number} is {down[0].state}" if unusable else "the topology file does not say",
    )


def bounded(devices: Iterable[T], kind: str) -> list[T]:
    """Returns the devices; raises XmlError when there are more of this kind than any host has."""
    found = list(devices)
    if len(found) > _MOST[kind]:
        raise XmlError(f"describes {len(found)} {kind}, more than any host has")
    return found


def in_pci_order(devices: Iterable[PciDevice]) -> Mapping[str, PciDevice]:
    """Returns the functions by address, in the order of the bus."""
    return {device.address: device for device in sorted(devices, key=lambda one: pci_order(one.address))}


def natural(name: str) -> tuple[list[str | int], str]:
    """Returns a key that sorts `mlx5_2` before `mlx5_10`."""
    parts: list[str | int] = [*_DIGITS.split(name)]
    parts[1::2] = [int(digits[:4000]) for digits in _DIGITS.findall(name)]
    return parts, name


def bit_mask(node: XmlNode, attribute: str) -> int | None:
    """Returns a set of CPUs or nodes, written in words of 32 bits with the highest first as the kernel does.

    An empty word is 0. None for no set, and for a set without end, with which hwloc says `all further ones`.
    """
    text = node.get(attribute, 1 << 14)
    if not text:
        return None
    mask = 0
    for word in text.split(","):
        digits = word.strip().removeprefix("0x") or "0"
        if len(digits) > 8 or _HEX.fullmatch(digits) is None:
            return None
        mask = mask << 32 | int(digits, 16)
        if mask >> _MAX_CPUS:
            return None
    return mask


def cpu_list(mask: int) -> str:
    """Returns the CPUs of a mask as the kernel lists them, such as `0-7,16-23`."""
    runs = ((run.start(), run.end() - 1) for run in re.finditer("1+", f"{mask:b}"[::-1]))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
