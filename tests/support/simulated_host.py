"""Whole values of nic_probe for tests: a host, its GPUs and NICs, in order unless a test says otherwise.

Nothing is read here; the fields that a test does not name have the values of a healthy device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pdpanel.nic_probe.gpus.gpu import Gpu, GpuHealth, Gpus, Vendor
from pdpanel.nic_probe.host import Host, probe_host
from pdpanel.nic_probe.nics.device import Gid, PortCounters, RdmaDevice, RdmaPort
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.topology.pci import PciDevice, PcieLink, PciTree

__all__ = ["make_gpu", "make_host", "make_nic", "make_pci", "make_pci_tree", "make_port", "read", "unread"]

T = TypeVar("T")


def read(value: T) -> Reading[T]:
    """Returns a reading of `value`."""
    return Reading(value, "test")


def unread(reason: str = "the test does not say") -> Reading[Any]:
    """Returns a reading without a value."""
    return Reading.unreadable("test", reason)


def make_health(**changes: Any) -> GpuHealth:
    """Returns the health of a GPU that lacks nothing."""
    healthy = GpuHealth(
        ecc_enabled=read(True),
        ecc_uncorrected=read(0),
        memory_retired_pending=read(False),
        throttle_reasons=read(()),
        compute_mode=read("Default"),
        persistence=read(True),
        mig=read(False),
        fabric=unread("not supported"),
        nvlinks_active=read(0),
        nvlinks_inactive=read(0),
        bar1_total_bytes=read(128 << 30),
        dma_buf=read(True),
        temperature_c=read(35),
        power_w=read(80.0),
        power_limit_w=read(700.0),
        power_limit_default_w=read(700.0),
    )
    return replace(healthy, **changes)


def make_gpu(pci: str, index: int = 0, *, health: Mapping[str, Any] | None = None, **changes: Any) -> Gpu:
    """Returns a GPU; `index` is its number everywhere."""
    gpu = Gpu(
        pci=pci,
        vendor=Vendor.NVIDIA,
        name=read("NVIDIA H100 80GB HBM3"),
        uuid=read(f"GPU-{index:08x}-0000-0000-0000-000000000000"),
        nvml_index=read(index),
        cuda_index=read(index),
        visible_index=read(index),
        memory_total_bytes=read(80 << 30),
        memory_used_bytes=read(0),
        architecture=read("9.0"),
        numa_node=read(0),
        busy_percent=read(0),
        processes=read(()),
        health=make_health(**(health or {})),
    )
    return replace(gpu, **changes)


def make_port(number: int = 1, **changes: Any) -> RdmaPort:
    """Returns an ACTIVE RoCE port of 400 Gb/s with a RoCE v2 GID at index 3."""
    port = RdmaPort(
        number=number,
        state=read("ACTIVE"),
        physical_state=read("LinkUp"),
        rate_gbps=read(400.0),
        rate=read("400 Gb/sec (4X NDR)"),
        link_layer=read("Ethernet"),
        lid=read(0),
        sm_lid=read(0),
        mtu=read(4096),
        pkeys=(0xFFFF,),
        gid_table_length=read(256),
        gids=(Gid(3, "192.168.1.5", read("RoCE v2"), read("eth1"), rank=0),),
        netdevs=("eth1",),
        counters=PortCounters(read(0), read(0), "port counters", {}),
        usable=True,
    )
    return replace(port, **changes)


def make_nic(
    name: str, pci: str = "0000:19:00.0", *, ports: tuple[RdmaPort, ...] | None = None, **changes: Any
) -> RdmaDevice:
    """Returns a usable RDMA NIC with one port."""
    nic = RdmaDevice(
        name=name,
        node_type=read("CA"),
        board=read("MT_0000000838"),
        firmware=read("28.39.1002"),
        node_guid=read("0a7f:bc12:45ef:d23b"),
        driver=read("mlx5_core"),
        pci=read(pci),
        numa_node=read(0),
        netdevs=read(("eth1",)),
        physical_function=unread("is a physical function"),
        bond=unread("is not bonded"),
        management=read(False),
        verbs_node=read("/dev/infiniband/uverbs0"),
        ports=(make_port(),) if ports is None else ports,
        usable=True,
    )
    return replace(nic, **changes)


def make_pci(address: str, *above: str, numa_node: int | None = 0, **changes: Any) -> PciDevice:
    """Returns a PCI function; `above` are the root, such as pci0000:16, and the bridges below it."""
    chain = (*above, address) if above else ()
    device = PciDevice(
        address=address,
        chain=chain,
        path="/".join(("sys/devices", *chain)) if chain else "",
        class_code=read(0x0302),
        vendor=read("0x10de"),
        device=read("0x2330"),
        driver=read("nvidia"),
        numa_node=unread("reads '-1', which is not a node") if numa_node is None else read(numa_node),
        link=PcieLink(read(32.0), read(16), read(32.0), read(16)),
        physical_function=unread("is a physical function"),
    )
    return replace(device, **changes)


def make_pci_tree(*devices: PciDevice, source: str = "sysfs", flattened: bool = False) -> PciTree:
    """Returns a tree of `devices`."""
    return PciTree(source, {device.address: device for device in devices}, flattened)


def make_host(root: Path, gpus: tuple[Gpu, ...] = (), nics: tuple[RdmaDevice, ...] = (), **changes: Any) -> Host:
    """Returns the host whose files lie below `root` (an empty folder will do), with these GPUs and NICs."""
    host = probe_host(HostFiles(root), {})
    named = replace(
        host,
        live=True,
        gpus=Gpus(gpus, read("570.86.15"), read("12.8")),
        rdma=read(nics),
    )
    return replace(named, **changes)
