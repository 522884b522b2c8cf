"""All that is known of one host, in one value. Called by the panel and by `checks`.

Three facts exist on the live machine alone and not in a capture of its files: GPU details, IP addresses and
whether a library loads. For any other root they are readings with that reason.
"""

from __future__ import annotations

import ctypes
import ipaddress
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .cpu import Cpu, probe_cpu
from .gpu import Gpus, probe_gpus
from .memory import Memory, probe_memory
from .netdev import Netdev, probe_netdevs
from .rdma import RdmaDevice, probe_rdma
from .reading import Reading
from .sysfs import HostFiles

__all__ = ["Host", "probe_host"]

_NOT_LIVE = "cannot be asked about a capture"


@dataclass(frozen=True, slots=True)
class Host:
    """One host at one moment.

    Attributes:
        live: True for the machine that we run on, False for a capture of one.
        kernel: the kernel's release.
        rdma: an empty tuple on a host without RDMA; unreadable only when the host does not let us look.
        ibverbs: the name under which the RDMA user library loads; Mooncake does not import without it.
    """

    live: bool
    name: Reading[str]
    kernel: Reading[str]
    os: Reading[str]
    cpu: Cpu
    memory: Memory
    netdevs: tuple[Netdev, ...]
    rdma: Reading[tuple[RdmaDevice, ...]]
    gpus: Gpus
    ibverbs: Reading[str]


def probe_host(root: Path = Path("/")) -> Host:
    """Returns what the host is, from the kernel's files below `root`.

    Takes some milliseconds for each device and blocks while it reads: call it from a thread. Raises
    nothing: whatever cannot be read is a `Reading` with the reason.
    """
    files = HostFiles(root)
    release = files.text("etc/os-release")
    return Host(
        live=files.live,
        name=files.text("proc/sys/kernel/hostname"),
        kernel=Reading(platform.release(), "uname") if files.live else files.text("proc/sys/kernel/osrelease"),
        os=release.convert(_pretty_name, "the name of a system"),
        cpu=probe_cpu(files),
        memory=probe_memory(files),
        netdevs=probe_netdevs(files, _live_addresses() if files.live else Reading.unreadable("kernel", _NOT_LIVE)),
        rdma=probe_rdma(files),
        gpus=probe_gpus(files),
        ibverbs=_load("libibverbs.so.1") if files.live else Reading.unreadable("loader", _NOT_LIVE),
    )


def _pretty_name(release: str) -> str | None:
    for line in release.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'") or None
    return None


def _load(library: str) -> Reading[str]:
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return Reading.unreadable("loader", str(error))
    return Reading(library, "loader")


def _live_addresses() -> Reading[Mapping[str, tuple[str, ...]]]:
    try:
        import psutil
    except ImportError:
        return Reading.unreadable("psutil", "the Python package psutil is not installed")
    try:
        table = psutil.net_if_addrs()
    except OSError as error:
        return Reading.unreadable("psutil", error.strerror or type(error).__name__)
    families = {socket.AF_INET, socket.AF_INET6}
    return Reading(
        {
            name: tuple(
                str(ipaddress.ip_address(entry.address.partition("%")[0]))
                for entry in entries
                if entry.family in families
            )
            for name, entries in table.items()
        },
        "psutil",
    )
