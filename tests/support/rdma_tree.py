"""Files of /sys as kernels and RDMA drivers lay them out, for hosts that a test makes up.

Every function returns paths with their texts, as `grow` and `memory_tree` take them; `-> ` begins the target of a link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pdpanel.nic_probe.netdev import probe_netdevs
from pdpanel.nic_probe.nics.device import RdmaDevice
from pdpanel.nic_probe.nics.sysfs import probe_rdma
from pdpanel.nic_probe.sources.directory import DirectoryTree
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree

__all__ = [
    "FE80",
    "FUNCTION",
    "INFINIBAND",
    "PORT_GUID",
    "ROCE",
    "ROOT_PORT",
    "V1",
    "V2",
    "ZERO",
    "FaultyTree",
    "LiveTree",
    "device_of",
    "devices_of",
    "gid_table",
    "mapped",
    "memory_tree",
    "netdev",
    "rdma_device",
    "rdma_port",
    "software_device",
    "uverbs",
]

ROOT_PORT = "sys/devices/pci0000:15/0000:15:01.0"
FUNCTION = f"{ROOT_PORT}/0000:18:00.0"
V1, V2 = "IB/RoCE v1", "RoCE v2"
FE80 = "fe80:0000:0000:0000:0a00:27ff:fe00:0001\n"
# What an InfiniBand port has and a RoCE port has not.
INFINIBAND: dict[str, Any] = {"link_layer": "InfiniBand", "lid": "0x3a4", "sm_lid": "0x1"}
ZERO = "0000:0000:0000:0000:0000:0000:0000:0000\n"


def mapped(address: str) -> str:
    """Returns an IPv4 address as the GID that maps it."""
    one, two, three, four = (int(part) for part in address.split("."))
    return f"0000:0000:0000:0000:0000:ffff:{one:02x}{two:02x}:{three:02x}{four:02x}\n"


def gid_table(entries: Mapping[int, tuple[str, str, str | None]], length: int = 8, empty: str = ZERO) -> dict[str, str]:
    """Returns the table below a port's folder.

    Args:
        entries: by index the GID, its type and its interface; None where the interface is in another namespace.
        length: of the table; the entries in between read `empty` and have no attributes, as EINVAL looks in a capture.
    """
    files = {f"gids/{index}": empty for index in range(length)}
    for index, (gid, kind, interface) in entries.items():
        files[f"gids/{index}"] = gid
        files[f"gid_attrs/types/{index}"] = kind + "\n"
        if interface is not None:
            files[f"gid_attrs/ndevs/{index}"] = interface + "\n"
    return files


def rdma_port(
    gids: Mapping[str, str] | None = None,
    *,
    state: str = "4: ACTIVE",
    phys_state: str = "5: LinkUp",
    rate: str = "400 Gb/sec (4X NDR)",
    link_layer: str | None = "Ethernet",
    lid: str = "0x0",
    sm_lid: str = "0x0",
    pkeys: tuple[str, ...] = ("0xffff",),
    **more: str,
) -> dict[str, str]:
    """Returns the files below a port's folder; `more` are files whose names have `/` written as `__`."""
    files = {
        "state": state + "\n",
        "phys_state": phys_state + "\n",
        "rate": rate + "\n",
        "lid": lid + "\n",
        "sm_lid": sm_lid + "\n",
        **{f"pkeys/{index}": key + "\n" for index, key in enumerate(pkeys)},
        **(gid_table({}) if gids is None else gids),
        **{name.replace("__", "/"): text for name, text in more.items()},
    }
    if link_layer is not None:
        files["link_layer"] = link_layer + "\n"
    return files


def rdma_device(
    name: str,
    ports: Mapping[int, Mapping[str, str]],
    *,
    pci: str = "0000:18:00.0",
    above: str = ROOT_PORT,
    driver: str = "mlx5_core",
    auxiliary: str = "",
    node_type: str = "1: CA",
    numa: str = "0",
    **more: str,
) -> dict[str, str]:
    """Returns a device on a PCI function and the link to it in /sys/class.

    Args:
        auxiliary: the auxiliary device between the two, such as ice.rdma.0; its driver is then `driver`.
        more: texts of files of the device, such as `fw_ver`.
    """
    function = f"{above}/{pci}"
    parent = f"{function}/{auxiliary}" if auxiliary else function
    place = f"{parent}/infiniband/{name}"
    up = "../" * (parent.count("/") + 1)
    bus = "auxiliary" if auxiliary else "pci"
    files = {
        f"{function}/numa_node": numa + "\n",
        f"{parent}/driver": f"-> {up}sys/bus/{bus}/drivers/{driver}",
        f"{place}/device": f"-> ../../../{parent.rpartition('/')[2]}",
        f"{place}/node_type": node_type + "\n",
        f"sys/class/infiniband/{name}": f"-> ../../../{place}",
    }
    files |= {f"{place}/{key}": text + "\n" for key, text in more.items()}
    for number, port in ports.items():
        files |= {f"{place}/ports/{number}/{key}": text for key, text in port.items()}
    return files


def software_device(
    name: str, interface: str, node_type: str, ports: Mapping[int, Mapping[str, str]]
) -> dict[str, str]:
    """Returns a device without hardware (rxe, siw) on `interface`."""
    place = f"sys/devices/virtual/infiniband/{name}"
    files = {
        f"{place}/node_type": node_type + "\n",
        f"{place}/parent": interface + "\n",
        f"sys/class/infiniband/{name}": f"-> ../../devices/virtual/infiniband/{name}",
    }
    for number, port in ports.items():
        files |= {f"{place}/ports/{number}/{key}": text for key, text in port.items()}
    return files


def netdev(name: str, function: str = "", **values: str) -> dict[str, str]:
    """Returns an interface on the PCI function at `function`, or a virtual one.

    Args:
        values: texts of its files, such as `mtu`; `__` in a name stands for `/`, and `-> ` begins a link.
    """
    place = f"{function}/net/{name}" if function else f"sys/devices/virtual/net/{name}"
    values = {"mtu": "1500", "operstate": "up", "type": "1"} | values
    files = {f"{place}/{key.replace('__', '/')}": text for key, text in values.items()}
    files[f"sys/class/net/{name}"] = f"-> ../../../{place}"
    if function:
        files[f"{place}/device"] = f"-> ../../../{function.rpartition('/')[2]}"
    return files


def uverbs(number: int, device: str) -> dict[str, str]:
    """Returns the verbs entry of a device."""
    return {
        "sys/class/infiniband_verbs/abi_version": "6\n",
        f"sys/class/infiniband_verbs/uverbs{number}/ibdev": device + "\n",
    }


def memory_tree(files: Mapping[str, str | bytes]) -> MemoryTree:
    """Returns the files as a tree in memory."""
    tree = MemoryTree()
    for path, text in files.items():
        if isinstance(text, bytes):
            tree.plant(path, text)
        else:
            tree.plant(path, Link(text[3:]) if text.startswith("-> ") else text.encode())
    return tree


ROCE = gid_table({0: (FE80, V1, "eth2"), 1: (FE80, V2, "eth2"), 3: (mapped("192.168.1.5"), V2, "eth2")})
PORT_GUID = gid_table({0: (FE80, V1, None)}, empty="fe80:0000:0000:0000:0000:0000:0000:0000\n")


def devices_of(files: HostFiles, environ: Mapping[str, str] | None = None) -> dict[str, RdmaDevice]:
    """Returns the RDMA devices of a host by name."""
    devices = probe_rdma(files, probe_netdevs(files), environ or {}).value
    assert devices is not None
    return {device.name: device for device in devices}


def device_of(files: Mapping[str, str | bytes]) -> RdmaDevice:
    """Returns the only RDMA device of a host whose files are these."""
    (device,) = devices_of(HostFiles(memory_tree(files))).values()
    return device


class LiveTree(DirectoryTree):
    """The files below a directory, read as those of the machine that we run on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.live = True

    def real(self, place: str) -> str:
        """Returns the place with all links followed, relative to the directory."""
        root = os.path.realpath(self._root)
        return os.path.relpath(os.path.realpath(f"{root}/{place}", strict=True), root)


class FaultyTree(MemoryTree):
    """A tree some of whose files the kernel refuses to read.

    Args:
        files: as `memory_tree` takes them.
        faults: the error number with which a file answers, by the end of its path.
    """

    def __init__(self, files: Mapping[str, str], faults: Mapping[str, int]) -> None:
        super().__init__()
        self._faults = faults
        for path, text in files.items():
            self.plant(path, Link(text[3:]) if text.startswith("-> ") else text.encode())

    def read(self, place: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a file, or raises its fault."""
        number = next((number for end, number in self._faults.items() if place.endswith(end)), None)
        if number is not None:
            raise OSError(number, errno.errorcode[number])
        return super().read(place, limit)

    def read_each(self, place: str, names: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Returns the first `limit` bytes of files of one folder, or their faults, by name."""
        contents: dict[str, bytes | OSError] = {}
        for name in names:
            try:
                contents[name] = self.read(f"{place}/{name}", limit)
            except OSError as error:
                contents[name] = error
        return contents
