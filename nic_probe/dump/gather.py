"""Gathers the kernel files of a host into a tar archive: those that are allowed by name, and nothing else.

Links stay links and each real file is stored once, so that the archive reads as the host does. Bounded in time, in
files and in bytes. Called by `write`.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import queue
import re
import stat
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import IO

from .masks import masked

__all__ = ["HostArchive"]

_LIMIT_S, _STALL_S = 8.0, 1.0
_MAX_MEMBERS, _MAX_FILE_BYTES, _MAX_BYTES, _MAX_DEPTH, _MAX_LINKS = 60_000, 1 << 20, 1 << 26, 7, 40

# Everything that is read, in this order. `*` is any name, `|` separates names, `**` is all that lies below, and a
# slash at the end keeps the names of directories alone.
_MODULES = "nvidia*|nv_peer_mem|gdrdrv|amdgpu|ib_*|iw_*|mlx*|rdma*|irdma|ice|i40e|bnxt*|ionic*|erdma|efa|ena|siw|hfi1|"
_MODULES += "mana*|hns*|qedr|cxgb4|ocrdma|vmw_pvrdma|bonding|habanalabs|i915|xe|drv_*"
_ALLOWED = f"""etc/os-release
etc/libibverbs.d/*
.dockerenv
run/.containerenv
run/systemd/timesync/synchronized
proc/cpuinfo|meminfo|modules|cmdline|stat|loadavg|uptime
proc/net/dev|route|ipv6_route|tcp|tcp6|if_inet6|sockstat|sockstat6
proc/net/bonding/*
proc/self/limits|status|cgroup|uid_map|mounts|mountinfo
proc/sys/kernel/hostname|osrelease|numa_balancing|shmmax|shmall|pid_max|threads-max
proc/sys/vm/max_map_count|overcommit_memory|overcommit_ratio|swappiness|nr_hugepages|zone_reclaim_mode
proc/sys/net/core/rmem_*|wmem_*|somaxconn|netdev_max_backlog
proc/sys/net/ipv4/ip_local_*|tcp_rmem|tcp_wmem|tcp_congestion_control|tcp_tw_reuse|tcp_fin_timeout
proc/sys/net/ipv4/conf/*/rp_filter|arp_ignore|arp_announce|arp_filter
proc/sys/net/ipv6/conf/all/disable_ipv6
proc/driver/nvidia/**
sys/devices/virtual/dmi/id/sys_vendor|product_name
sys/class/dmi/id
sys/kernel/mm/transparent_hugepage/enabled|defrag
sys/kernel/mm/hugepages/*/*
sys/devices/system/node/online|possible|has_cpu|has_memory|has_normal_memory
sys/devices/system/node/node*/
sys/devices/system/node/node*/cpulist|cpumap|distance|meminfo
sys/devices/system/node/node*/hugepages/*/*
sys/devices/system/cpu/online|possible|present|offline|isolated
sys/devices/system/cpu/cpu*/
sys/devices/system/cpu/cpu*/topology/physical_package_id|core_id|thread_siblings_list
sys/devices/system/cpu/cpu*/cpufreq/scaling_governor|scaling_driver
sys/module/{_MODULES}/
sys/module/{_MODULES}/version|initstate|refcnt
sys/module/ib_*|rdma_*|mlx*|nvidia*|nv_peer_mem/parameters/*
sys/class/iommu|drm/*
sys/kernel/iommu_groups/*/
sys/kernel/iommu_groups/*/type
sys/class/infiniband_verbs|infiniband_mad/*/ibdev|dev|port|abi_version|device
sys/class/infiniband_verbs|infiniband_mad/abi_version
sys/class/kfd/kfd/topology/system_properties|generation_id
sys/class/kfd/kfd/topology/nodes/*/gpu_id|name|properties
sys/class/kfd/kfd/topology/nodes/*/mem_banks|io_links|p2p_links/*/properties
sys/class/infiniband/*/**
sys/class/net/*/address|mtu|operstate|carrier|speed|duplex|dev_port|dev_id|type|flags|ifindex|iflink|phys_port_name
sys/class/net/*/device|master|lower_*|upper_*|tx_queue_len
sys/class/net/*/bonding|bonding_slave/*
sys/class/net/*/device/driver|subsystem|numa_node
sys/class/net/*/statistics/*_bytes|*_packets|*_errors|*_dropped
sys/class/infiniband/*/device/vpd"""
# A link may lead to these, and to nothing else.
_SOURCES = ("sys/", "proc/", "boot/config-", "etc/libibverbs.d/", "etc/os-release", "usr/lib/os-release", ".", "run/")
_CGROUP = "rdma.max|rdma.current|memory.max|memory.limit_in_bytes|cpu.max|cpuset.*.effective"
_PCI = "class|vendor|device|subsystem_vendor|subsystem_device|revision|numa_node|local_cpus|local_cpulist|enable|"
_PCI += "current_link_*|max_link_*|driver|physfn|virtfn*|iommu_group|subsystem|sriov_totalvfs|sriov_numvfs|aer_dev_*|"
_PCI += "power_state|d3cold_allowed|resource|ari_enabled|config|mem_info_*|unique_id|vbios_version|product_name"
# Networks, displays (GPUs), accelerators, coprocessors, and the bridges that NVSwitches are.
_PCI_CLASSES = ("0x02", "0x03", "0x12", "0x0b40", "0x0680")
_PCI_ADDRESS = re.compile(r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b")


class _Full(Exception):
    """The dump has reached one of its limits."""


class HostArchive:
    """The archive of a host on its way into a stream.

    Places are paths below the root with no link in them; `""` is the root itself.

    Attributes:
        live: True for the running machine.
        states: TCP connections by their state; the archive keeps those that listen alone.
        unreadable: why what is not in the archive is not, by path.
    """

    def __init__(self, root: str, stream: IO[bytes]) -> None:
        self.live = root == "/"
        self.states: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}
        self._root = root
        self._zipped = gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6)
        self._tar = tarfile.TarFile(fileobj=self._zipped, mode="w")
        self._reader = _Reader(root)
        self._deadline = time.monotonic() + _LIMIT_S
        self._seen: set[str] = set()
        self._bytes = self._links = 0
        self._pci: dict[str, bool] = {}

    def gather(self) -> None:
        """Adds everything that is allowed, until a limit is reached."""
        try:
            self._gather()
        except _Full as limit:
            self.unreadable["*"] = f"what is not here was left out: {limit}"

    def add_json(self, place: str, value: object) -> None:
        """Adds a file of ours."""
        self._store(place, json.dumps(value, indent=1).encode())

    def close(self) -> str:
        """Ends the archive, and returns what it holds in one line."""
        self._reader.close()
        self._tar.close()
        self._zipped.close()
        files = len(self._seen) - self._links
        return f"{files} files and folders, {self._links} links; {len(self.unreadable)} could not be read"

    def abandon(self) -> None:
        """Lets go of a stream that takes no more."""
        self._reader.close()
        self._zipped.fileobj = io.BytesIO()

    def _gather(self) -> None:
        for address in self._names("sys/bus/pci/devices"):
            if self.text(f"sys/bus/pci/devices/{address}/class").startswith(_PCI_CLASSES):
                self._pci[address] = False
        self._gather_pci()
        for pattern in _ALLOWED.split("\n"):
            self._add("", pattern.split("/"))
        self._gather_pci()
        self._add("boot", ["config-" + self.text("proc/sys/kernel/osrelease").strip()])
        for line in self.text("proc/self/cgroup").splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            for place in {f"sys/fs/cgroup/{controllers}", f"sys/fs/cgroup/{controllers}/{path}"}:
                real, _ = self._walk("", place)
                self._add(real, [_CGROUP])

    def _gather_pci(self) -> None:
        # Each function stands below its bridges, which the link to it names.
        while not all(self._pci.values()):
            for address in sorted(address for address, done in self._pci.items() if not done):
                self._pci[address] = True
                self._add("sys/bus/pci/devices", [address, _PCI])

    def _add(self, place: str | None, parts: Sequence[str]) -> None:
        """Adds what a pattern stands for; `parts` are its parts below the folder `place`."""
        if place is None:
            return
        head, rest = parts[0], parts[1:]
        if head == "":
            self._member(place, None)
        elif head == "**":
            self._add_tree(place, _MAX_DEPTH)
        else:
            if "*" in head:
                self._member(place, None)
            for name in self._names(place) if "*" in head else head.split("|"):
                if any(fnmatchcase(name, pattern) for pattern in head.split("|")):
                    real, links = self._walk(place, name)
                    for link in links:
                        self._link(*link)
                    if real is not None and rest and os.path.isdir(self._at(real)):
                        self._add(real, rest)
                    elif real is not None and not rest:
                        self._file(real)

    def _add_tree(self, place: str, depth: int) -> None:
        self._member(place, None)
        for name in self._names(place):
            real, links = self._walk(place, name)
            for link in links:
                self._link(*link)
            if real is None or links or name == "power":
                continue
            if not os.path.isdir(self._at(real)):
                self._file(real)
            elif depth:
                self._add_tree(real, depth - 1)

    def _at(self, place: str) -> str:
        return os.path.join(self._root, place)

    def _names(self, path: str) -> list[str]:
        real, _ = self._walk("", path)
        try:
            return sorted(os.listdir(self._at(real))) if real is not None else []
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.unreadable[path] = error.strerror or "cannot be listed"
            return []

    def _walk(self, place: str, path: str) -> tuple[str | None, list[tuple[str, str]]]:
        """Returns where `path` below `place` leads, None for out of the root or nowhere, and the links on the way."""
        links: list[tuple[str, str]] = []
        todo = path.split("/")
        while todo:
            name = todo.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                if not place:
                    return None, []
                place = os.path.dirname(place)
                continue
            here = os.path.join(place, name)
            try:
                # On the live host proc/self and proc/net are this process.
                target = None if self.live and here.startswith("proc/") else os.readlink(self._at(here))
            except OSError:
                target = None
            if target is None:
                place = here
                continue
            if len(links) == _MAX_LINKS:
                return None, []
            if target.startswith("/"):
                links.append((here, os.path.relpath(target, "/" + place)))
                place = ""
            else:
                links.append((here, target))
            todo = target.split("/") + todo
        return (place if os.path.lexists(self._at(place)) else None), links

    def text(self, path: str) -> str:
        """Returns a file of the host, empty when it cannot be read; it is not added."""
        real, _ = self._walk("", path)
        try:
            return "" if real is None else self._reader.read(real).decode("utf-8", "replace")
        except OSError:
            return ""

    def _file(self, place: str) -> None:
        if place in self._seen or os.path.isdir(self._at(place)):
            return
        if not place.startswith(_SOURCES):
            self.unreadable[place] = "is not among the files that a dump may hold"
            return
        try:
            data = self._reader.read(place)
        except OSError as error:
            self.unreadable[place] = (error.strerror or type(error).__name__).lower()
            return
        self._member(place, masked(place, data, self.states))

    def _link(self, place: str, target: str) -> None:
        if place not in self._seen:
            self._links += 1
            self._member(place, target)
            for address in _PCI_ADDRESS.findall(target):
                self._pci.setdefault(address, False)

    def _member(self, place: str, content: bytes | str | None) -> None:
        """Adds a file, a link (text) or a folder (None), once."""
        if place in self._seen or not place:
            return
        self._seen.add(place)
        self._store(place, content)
        if time.monotonic() > self._deadline:
            raise _Full(f"{_LIMIT_S:g} s are over")
        if len(self._seen) >= _MAX_MEMBERS or self._bytes >= _MAX_BYTES:
            raise _Full(f"{len(self._seen)} files with {self._bytes} bytes are enough")

    def _store(self, place: str, content: bytes | str | None) -> None:
        member = tarfile.TarInfo(place)
        member.mtime = int(time.time())
        if isinstance(content, bytes):
            member.size = len(content)
            self._bytes += len(content)
        else:
            member.type, member.linkname = (tarfile.DIRTYPE, "") if content is None else (tarfile.SYMTYPE, content)
        member.mode = 0o755 if content is None else 0o644
        self._tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)


class _Reader:
    """Reads in a thread of its own, since a driver that hangs holds whoever reads; another one goes on after it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._stuck: set[str] = set()
        self._start()

    def _start(self) -> None:
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._asked, self._answers), daemon=True).start()

    def read(self, place: str) -> bytes:
        """Returns the beginning of a plain file; raises OSError for anything else."""
        folder = os.path.dirname(place)
        if folder in self._stuck:
            raise TimeoutError(errno.ETIMEDOUT, "a file beside it did not answer")
        self._asked.put(os.path.join(self._root, place))
        try:
            answer = self._answers.get(timeout=_STALL_S)
        except queue.Empty:
            self._stuck.add(folder)
            self._asked.put(None)
            self._start()
            raise TimeoutError(errno.ETIMEDOUT, "did not answer in time") from None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the thread."""
        self._asked.put(None)


def _serve(asked: queue.SimpleQueue[str | None], answers: queue.SimpleQueue[bytes | OSError]) -> None:
    for path in iter(asked.get, None):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.EINVAL, "is not a plain file")
                content = b""
                while len(content) < _MAX_FILE_BYTES and (part := os.read(descriptor, 1 << 16)):
                    content += part
                answers.put(content)
            finally:
                os.close(descriptor)
        except OSError as error:
            answers.put(error)
